"""Two explanations side by side: another method, class, text or model."""

from dataclasses import replace

import streamlit as st
import xarray as xr

from lignite.api.compare import compare
from lignite.apps.dashboard.fields import ask_options
from lignite.apps.dashboard.given import digest
from lignite.apps.dashboard.inputs import ask_input
from lignite.apps.dashboard.look import offer_downloads, plain, show_card, show_page
from lignite.apps.dashboard.question import Question, written_method
from lignite.apps.dashboard.state import load_offered
from lignite.errors import GridError, InputError
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.models.facts import reads_images
from lignite.views.files import page_of


def draw(question: Question) -> None:
    """Let a reader change something, and see both."""
    if question.given is None:
        st.info("Type a text, or drop a picture: two explanations of it stand here side by side.")
        return
    other = _ask_other(question)
    left, right = st.columns(2, gap="medium")
    with left:
        first = _explained(question, "left")
    with right:
        second = _explained(other, "right")
    if first is not None and second is not None:
        _draw_difference(first, second)


def _ask_other(question: Question) -> Question:
    """The same question with what the reader changes of it: method, input, model. Classes are chosen on both sides."""
    noun = "Picture" if reads_images(question.model.network) else "Text"
    asks = {"Method": _other_method, noun: _other_input, "Model": _other_model}
    with st.container(border=True):
        changed = st.pills(
            "What differs", list(asks), selection_mode="multi", default=["Method"], key="beside",
            help="Besides the class, which is chosen on each side.",
        )  # fmt: skip
        for name in changed:
            question = asks[name](question)
    return question


def _other_method(question: Question) -> Question:
    usual = list(METHODS).index("ca-lig" if question.method.name != "ca-lig" else "relevance-flow")
    method = st.selectbox("Method beside it", list(METHODS), index=usual, key="beside.method")
    return replace(question, method=choose(method, ask_options(METHODS[method], f"beside.{method}")))


def _other_input(question: Question) -> Question:
    """Another text, or a pair's other first text; nothing differs until it is changed."""
    text, second = question.given if isinstance(question.given, tuple) else (question.given, "")
    key = f"beside.given.{hash(digest(question.given)):x}"  # beside another text it begins as that one
    first = text if isinstance(text, str) else ""
    if second:
        second = st.text_area("Second text beside it", second, key=f"{key}.second", height=70)
    return replace(question, given=ask_input(question.model, key, "Text beside it", first, second) or question.given)


def _other_model(question: Question) -> Question:
    names = list(dict.fromkeys([question.name, *question.offered]))
    name = str(st.selectbox("Model beside it", names, key="beside.model", accept_new_options=question.free))
    return replace(question, name=name, model=load_offered(name, question.offered, free=question.free))


def _explained(question: Question, key: str) -> xr.Dataset | None:
    st.markdown(f"**{plain(question.name)}** · {plain(written_method(question.method))}")
    asked = question.of_class(key)
    found = asked.explain() if asked else []
    if not found:
        return None
    show_card(found[0])
    return found[0]


def _draw_difference(first: xr.Dataset, second: xr.Dataset) -> None:
    """Word by word, where both read the same words."""
    try:
        both = compare(first, second)
    except (GridError, InputError) as error:
        st.caption(plain(error))
        return
    show_page(page_of(both, tokens=False, special="show"))
    offer_downloads(both, "comparison")
