"""Two explanations side by side: another method, another class, another model."""

from dataclasses import replace

import streamlit as st
import xarray as xr

from lignite.api.compare import compare
from lignite.apps.dashboard.fields import ask_options
from lignite.apps.dashboard.look import offer_downloads, plain, show_card, show_page
from lignite.apps.dashboard.question import Question, written_method
from lignite.apps.dashboard.state import load_offered
from lignite.errors import GridError, InputError
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.views.files import page_of


def draw(question: Question) -> None:
    """Let a reader change one thing, and see both."""
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
    """The same question of another model, or by another method."""
    with st.container(border=True):
        left, right = st.columns(2)
        names = list(dict.fromkeys([question.name, *question.offered]))
        name = str(
            left.selectbox("Beside it, by the model", names, key="beside.model", accept_new_options=question.free)
        )
        usual = list(METHODS).index("ca-lig" if question.method.name != "ca-lig" else "relevance-flow")
        method = right.selectbox("and the method", list(METHODS), index=usual, key="beside.method")
        chosen = choose(method, ask_options(METHODS[method], f"beside.{method}"))
    model = question.model if name == question.name else load_offered(name, question.offered, free=question.free)
    return replace(question, name=name, model=model, method=chosen)


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
