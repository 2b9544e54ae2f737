"""A flow: what every word gives to every other inside each layer."""

from typing import Any

import streamlit as st

from lignite.api.flow import flow
from lignite.api.flow_options import FlowOptions
from lignite.apps.dashboard.fields import ask_options
from lignite.apps.dashboard.given import check_pairs, digest
from lignite.apps.dashboard.look import offer_downloads, show_page
from lignite.apps.dashboard.question import Question
from lignite.apps.dashboard.state import Watch, compute, remember
from lignite.apps.dashboard.turns import MEMORY
from lignite.inputs.encode import encode
from lignite.views.flow.page import flow_html


def draw(question: Question) -> None:
    """Every layer, taken apart."""
    if question.given is None:
        st.info("Type a text, or drop a picture: the flow through the model's layers appears here.")
        return
    options = FlowOptions(**ask_options(FlowOptions, "flow"))
    (encoded,) = encode(question.model, question.given)
    n_tokens = len(encoded.tokens)
    check_pairs(n_tokens if options.targets is None else len(options.targets), n_tokens)

    def make(watch: Watch) -> Any:
        return flow(question.model, question.given, request=options, memory=MEMORY, progress=watch.progress)

    key = ("flow", question.name, digest(question.given), options)
    result = compute("following the layers", key, make)
    if result is None:
        return
    remember(result, f"{question.label.rpartition(' · ')[0]} · flow")
    show_page(flow_html(result))
    offer_downloads(result, "flow")
