"""Explanations that belong together: of one text the classes and their differences, and a text as it is continued."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from lignite.views.attributes import from_json
from lignite.views.explanation.facts import arrange, question, strongest
from lignite.views.labels import format_score, limit_of, token_in_words, visible_token
from lignite.views.patches.facts import is_image
from lignite.views.tones import tone_of

MOST_CLASSES = 12
TOLD = 4
"""Of a continuation, tokens whose reasons a sentence names."""
SUBTRACTED = ("relevance", "layer_relevance", "layer_ig", "output_ig", "relevance_flow")
CERTIFICATES = ("total", "", "output", "relevance_flow")
"""Of the maps that are subtracted: the names before displacement, gap and allowed."""


def with_differences(datasets: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The explanations, and behind them, for several classes of one text, the first class less each other."""
    found = list(datasets)
    for members in classes_of(datasets):
        first, *others = (datasets[at] for at in members)
        found += [difference(first, other) for other in others]
    return found


def classes_of(datasets: Sequence[xr.Dataset]) -> list[list[int]]:
    """Explanations that differ in the class they are of alone: the predicted one first."""
    groups: dict[Any, list[int]] = {}
    for at, dataset in enumerate(datasets):
        groups.setdefault(_but_for_the_class(dataset), []).append(at)

    def kept(members: list[int]) -> list[int]:
        named = {
            question(datasets[at]).name: at
            for at in members
            if from_json(datasets[at], "target").get("against") is None
        }
        order = sorted(named, key=lambda name: name != str(datasets[named[name]].attrs.get("prediction", "")))
        return [named[name] for name in order][:MOST_CLASSES]

    return [chosen for members in groups.values() if len(chosen := kept(members)) > 1]


def _but_for_the_class(dataset: xr.Dataset) -> tuple[Any, ...]:
    request = {name: value for name, value in from_json(dataset, "request").items() if name != "target"}
    attrs = dataset.attrs
    asked = (str(attrs.get(name)) for name in ("model", "revision", "text", "method", "windows"))
    return (*asked, json.dumps(request, sort_keys=True, default=str), dataset.token.values.tobytes())


def difference(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    """What speaks for one class rather than another: scores, displacements and gaps, less those of the other."""
    kept = [name for name in SUBTRACTED if name in first and name in second]
    made = first[kept] - second[kept]
    made = made.assign({name: first[name] for name in ("probability", "logit", "image") if name in first})
    for before in CERTIFICATES:
        for name in ("displacement", "gap", "allowed"):
            both = f"{before}_{name}" if before else name
            if both in first and both in second:
                made[both] = first[both] + second[both] if name == "allowed" else first[both] - second[both]
    names = question(first).name, question(second).name
    target = from_json(first, "target") | {"name": " − ".join(names), "against": names[1]}
    value = float(first.attrs.get("value", np.nan)) - float(second.attrs.get("value", np.nan))
    made.attrs = {**first.attrs, "target": json.dumps(target), "value": value}
    return made


@dataclass(frozen=True)
class Continuation:
    """The tokens that a model went on with: `steps` are the explanations, their token and its probability.

    `rows` are what was read: a token, and its tone and score in every step, None where it was not there yet.
    """

    steps: list[tuple[int, str, float]]
    rows: list[tuple[str, list[tuple[str, float] | None]]]
    limit: float
    strongest: list[str]

    @property
    def answer(self) -> str:
        """What the model wrote, in a sentence."""
        return f"The model goes on with {' '.join(name for _, name, _ in self.steps)}."

    @property
    def sides(self) -> str:
        """Which token each of those written is due to most, the first of them."""
        named = [f"{name} to {token}" for (_, name, _), token in zip(self.steps, self.strongest, strict=True) if token]
        more = f"; {len(named) - TOLD} more below" if len(named) > TOLD else ""
        return f"Most is due, of {', of '.join(named[:TOLD])}{more}." if named else ""


def continuation_of(datasets: Sequence[xr.Dataset]) -> Continuation | None:
    """A matrix of sources by generated tokens, where every explanation goes on one token after the one before it."""
    if len(datasets) < 2 or any(is_image(dataset) for dataset in datasets):
        return None
    texts = [dataset.token.values.tolist() for dataset in datasets]
    if any([*shorter, longer[-1]] != longer for shorter, longer in pairwise(texts)):
        return None
    shown = [arrange(dataset, tokens=True) for dataset in datasets]
    scores = [dataset.relevance.values.astype(np.float64) for dataset in shown]
    counts = ~shown[-1].special.values
    limit = limit_of(np.concatenate([row[counts[: len(row)]] for row in scores]))
    asked = [question(dataset) for dataset in datasets]
    steps = [(at, each.prediction or each.name, each.target_probability) for at, each in enumerate(asked)]
    rows = [
        (
            visible_token(str(token)),
            [(tone_of(float(row[at]) / limit), float(row[at])) if at < len(row) else None for row in scores],
        )
        for at, token in enumerate(shown[-1].token.values)
    ]
    best = [strongest(dataset, 1, sign="for") for dataset in shown]
    return Continuation(
        steps, rows, limit, [f"{token_in_words(of[0].token)} {format_score(of[0].score)}" if of else "" for of in best]
    )
