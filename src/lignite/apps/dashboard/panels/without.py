"""Words taken away: the effect that their scores predict beside what the model says without them."""

from collections.abc import Sequence

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st
import xarray as xr

from lignite.apps.dashboard.effects import (
    MOST_WORDS,
    Effect,
    Word,
    adds_up,
    fills_of,
    movable,
    rank_correlation,
    take_away,
    words_of,
)
from lignite.apps.dashboard.look import plain, signed
from lignite.apps.dashboard.question import Question
from lignite.apps.dashboard.state import compute
from lignite.targets.rows import Row
from lignite.views.explanation.facts import question as asked_of
from lignite.views.labels import format_share
from lignite.views.palette import COLD, WARM


def draw(question: Question, dataset: xr.Dataset) -> None:
    """Let a reader take words away."""
    row = question.ask()
    if row is None:
        return
    words = movable(row, words_of(dataset))
    fills = fills_of(question.model, row)
    if not words or not fills:
        return
    with st.container(border=True):
        st.subheader("What if some words were not there?", anchor=False)
        st.caption("Choose words: their scores predict an effect, and the model is asked again without them.")
        key = f"without.{hash(question.key):x}"
        fill = st.segmented_control("They are", fills, default=fills[0], key=f"fill.{question.name}") or fills[0]
        _draw_chosen(question, row, dataset, words, fill, key)
        if st.toggle(f"Every word in turn ({len(words)})", key=f"{key}.all", disabled=len(words) > MOST_WORDS):
            _draw_all(question, row, words, fill, key)


def _draw_chosen(question: Question, row: Row, dataset: xr.Dataset, words: list[Word], fill: str, key: str) -> None:
    chosen = st.pills(
        "Without", range(len(words)), selection_mode="multi", key=f"{key}.words",
        format_func=lambda at: plain(f"{words[at].text} {signed(words[at].score)}"),
    )  # fmt: skip
    if not chosen:
        return
    group = [words[at] for at in chosen]
    effects = _effects(question, row, [group], fill)
    if not effects:
        return
    (effect,) = effects
    asked = asked_of(dataset)
    left, middle, right = st.columns(3)
    left.metric("Predicted effect", signed(-effect.predicted), help="The sum of their scores, taken away.")
    middle.metric("Actual effect", signed(-effect.actual), help=f"Change of the {plain(asked.unit)}, measured.")
    right.metric(
        plain(f"Probability of {asked.name}"),
        format_share(effect.probability_without),
        f"{100 * (effect.probability_without - effect.probability):+.1f} points",
    )
    if not adds_up(dataset):
        st.caption(
            "Scores of this method are in no unit of the answer: which word matters more can be compared, how much "
            "cannot."
        )


def _draw_all(question: Question, row: Row, words: list[Word], fill: str, key: str) -> None:
    effects = _effects(question, row, [[word] for word in words], fill)
    if not effects:
        return
    st.altair_chart(_scatter(effects), theme="streamlit", key=f"{key}.chart")
    agreed = rank_correlation(effects)
    if agreed == agreed:
        st.caption(
            f"Rank correlation of predicted and actual effects: {agreed:.2f}. Points on the line are predicted "
            "exactly; words that stand for each other leave it, since one stays while the other goes."
        )


def _effects(question: Question, row: Row, groups: Sequence[Sequence[Word]], fill: str) -> list[Effect]:
    key = ("without", *question.key, fill, tuple(word.places for group in groups for word in group), len(groups))
    found: list[Effect] | None = compute(
        f"asking without {len(groups)} words", key,
        lambda _: take_away(question.model, row, groups, fill),
    )  # fmt: skip
    return found or []


def _scatter(effects: Sequence[Effect]) -> object:
    import altair as alt  # comes with streamlit, and takes a second to import

    table = pd.DataFrame(
        {
            "word": [" ".join(effect.words) for effect in effects],
            "predicted": [effect.predicted for effect in effects],
            "actual": [effect.actual for effect in effects],
        }
    )
    low = float(table[["predicted", "actual"]].min().min())
    high = float(table[["predicted", "actual"]].max().max())
    margin = 0.08 * ((high - low) or 1.0)
    scale = alt.Scale(domain=[low - margin, high + margin], nice=False)
    x = alt.X("predicted:Q", title="score: predicted fall", scale=scale)
    y = alt.Y("actual:Q", title="actual fall", scale=scale)
    colour = alt.condition("datum.actual > 0", alt.value(WARM[2]), alt.value(COLD[2]))
    points = alt.Chart(table).mark_circle(size=80, opacity=0.9)
    line = alt.Chart(pd.DataFrame({"predicted": [low, high], "actual": [low, high]})).mark_line(
        strokeDash=[4, 4], color="#8a8c90"
    )
    names = alt.Chart(table).mark_text(dx=8, align="left", color="#8a8c90").encode(x, y, text="word:N")
    shown = points.encode(x, y, color=colour, tooltip=["word", "predicted", "actual"])
    return (line.encode(x, y) + shown + names).properties(height=380)
