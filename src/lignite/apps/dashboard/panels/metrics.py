"""Metrics: how far explanations of some texts hold, method by method, beside one drawn at random."""

from typing import Any

import streamlit as st

from lignite.api.evaluate import evaluate
from lignite.apps.dashboard.given import as_texts, digest
from lignite.apps.dashboard.look import plain, show_page
from lignite.apps.dashboard.question import Question, written_method
from lignite.apps.dashboard.state import Watch, compute
from lignite.apps.dashboard.turns import MEMORY
from lignite.methods import METHODS
from lignite.metrics.registry import METRICS, described
from lignite.models.facts import reads_images
from lignite.views.evaluation.page import evaluation_html

DEFAULT = ("ig", "attention-x-gradient")
"""Beside the method that is chosen."""


def draw(question: Question) -> None:
    """Let a reader measure methods on texts, or on the picture."""
    images = reads_images(question.model.network)
    fitting = [
        name for name, each in METRICS.items() if not each.needs and each.reads in ("", "image" if images else "text")
    ]
    usual = [name for name in fitting if METRICS[name].default]
    left, right = st.columns(2)
    methods = left.multiselect(
        "Methods", list(METHODS), list(dict.fromkeys([question.method.name, *DEFAULT])), key="metrics.methods"
    )
    metrics = right.multiselect(
        "Metrics",
        fitting,
        usual,
        key="metrics.metrics",
        help=plain("; ".join(f"{a}: {b}" for a, b in described() if a in usual)),
    )
    texts = (
        None if images else st.text_area("Texts, one per line", _first(question.given), key="metrics.texts", height=140)
    )
    if question.method != type(question.method)():
        st.caption(
            f"{plain(question.method.name)} with the options at the side: {plain(written_method(question.method))}."
        )
    examples: list[Any] = [question.given] if images else as_texts(texts or "")
    key = ("metrics", question.name, *map(digest, examples), tuple(methods), tuple(metrics), question.method)
    if st.button("Measure", type="primary", disabled=images and question.given is None):
        st.session_state["measured"] = key
    if st.session_state.get("measured") != key:
        st.caption("Every method explains every text, and the model is asked many times; a row random is added.")
        return
    options = {question.method.name: question.method.values()} if question.method.name in methods else None

    def make(watch: Watch) -> Any:
        how: dict[str, Any] = {"options": options, "memory": MEMORY, "progress": watch.progress}
        return evaluate(question.model, examples, methods, metrics, **how)

    found = compute("measuring", key, make)
    if found is not None:
        show_page(evaluation_html(found))


def _first(given: Any) -> str:
    text = given[0] if isinstance(given, tuple) else given
    return text if isinstance(text, str) else ""
