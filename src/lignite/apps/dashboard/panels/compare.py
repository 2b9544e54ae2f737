"""Two explanations side by side: another method, another class, another model."""

from dataclasses import replace

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st
import xarray as xr

from lignite.apps.dashboard.effects import words_of
from lignite.apps.dashboard.fields import ask_options
from lignite.apps.dashboard.look import plain, show_card
from lignite.apps.dashboard.question import Question, written_method
from lignite.apps.dashboard.state import load_offered
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.views.palette import COLD, WARM


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
    """Word by word, where both read the same words, each on a scale of its own."""
    ours, theirs = words_of(first), words_of(second)
    if [word.text for word in ours] != [word.text for word in theirs]:
        st.caption("The two read the text in other words, so they are not set side by side word by word.")
        return
    scores = pd.DataFrame({"this": [word.score for word in ours], "beside": [word.score for word in theirs]})
    shares = scores / scores.abs().max().replace(0.0, 1.0)
    shares["word"] = [f"{place} {word.text}" for place, word in enumerate(ours, start=1)]
    with st.container(border=True):
        st.subheader("Word by word", anchor=False)
        agreed = scores.corr(method="spearman").iloc[0, 1]
        st.caption(
            f"Shares of each explanation's largest score. Rank correlation over {len(ours)} words: {agreed:.2f}."
        )
        st.altair_chart(_dumbbells(shares), key="difference")


def _dumbbells(shares: pd.DataFrame) -> object:
    import altair as alt  # comes with streamlit, and takes a second to import

    order = list(shares["word"])
    y = alt.Y("word:N", sort=order, title=None, axis=alt.Axis(labelLimit=240, labelOverlap=False))
    long = shares.melt("word", var_name="explanation", value_name="share")
    colour = alt.Color(
        "explanation:N", title=None, legend=alt.Legend(orient="top"),
        scale=alt.Scale(domain=["this", "beside"], range=[WARM[2], COLD[2]]),
    )  # fmt: skip
    x = alt.X("share:Q", title="against · share of the largest score · for", scale=alt.Scale(domain=[-1, 1]))
    between = alt.Chart(shares).mark_rule(color="#8a8c90").encode(y, x="this:Q", x2="beside:Q")
    points = alt.Chart(long).mark_circle(size=110, opacity=1).encode(y, x, colour, tooltip=["word", "share"])
    return (between + points).properties(height=22 * len(order) + 60)
