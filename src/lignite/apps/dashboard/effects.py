"""What a word does: the effect that its score predicts, beside what the model says without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lignite.errors import OptionError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.models.load import Model
from lignite.targets.ask import ask, predict
from lignite.targets.edits import removable
from lignite.targets.fills import FILLS, Way, check_fills
from lignite.targets.objective import Wanted
from lignite.targets.rows import Row
from lignite.views.explanation.facts import arrange
from lignite.views.explanation.message import message

DRAWN = ("unigram",)
"""Fills that draw words from a corpus: one text is none."""
MOST_WORDS = 128
"""That are taken away one by one: the model is asked once for each."""


@dataclass(frozen=True)
class Word:
    """A word or patch of an explanation: its name, its places in the model's input, its score."""

    text: str
    places: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Effect:
    """What happens without some words: as their scores predict it, and as the model says."""

    words: tuple[str, ...]
    fill: str
    predicted: float
    value: float
    value_without: float
    probability: float
    probability_without: float

    @property
    def actual(self) -> float:
        """By how much the explained number falls."""
        return self.value - self.value_without


def words_of(dataset: xr.Dataset) -> list[Word]:
    """Words of an explanation in their order, special tokens left out."""
    merged = arrange(dataset)
    positions = dataset.position.values
    starts = merged.position.values
    owner = np.searchsorted(starts, positions, side="right") - 1
    return [
        Word(str(merged.token.values[at]), tuple(int(place) for place in positions[owner == at]), float(score))
        for at, score in enumerate(merged.relevance.values)
        if not merged.special.values[at]
    ]


def adds_up(dataset: xr.Dataset) -> bool:
    """Whether scores are in the unit of the answer, so that a word's score predicts its effect."""
    return any(step.kind in ("for", "against") for step in message(arrange(dataset)).steps)


def fills_of(model: Model, row: Row) -> tuple[str, ...]:
    """Ways to take words or patches away that this model has."""
    images = "pixel_values" in row.encoded.tensors
    known = IMAGE_FILLS if images else [name for name in ("mask", *FILLS) if name not in DRAWN]
    found = []
    for name in dict.fromkeys(known):
        try:
            check_fills(model, name, images=images, row=row)
        except OptionError:
            continue
        found.append(name)
    return tuple(found)


def take_away(model: Model, row: Row, groups: Sequence[Sequence[Word]], fill: str) -> list[Effect]:
    """Ask the model without each of these groups of words, the explained number staying what it is."""
    edited = [Way(fill).without(model, row, _places(group), None) for group in groups]
    said = predict(model, [row, *edited])
    value, probability = said.value.tolist(), said.probability.tolist()
    return [
        Effect(
            words=tuple(word.text for word in group),
            fill=fill,
            predicted=sum(word.score for word in group),
            value=value[0],
            value_without=value[number],
            probability=probability[0],
            probability_without=probability[number],
        )
        for number, group in enumerate(groups, start=1)
    ]


def movable(row: Row, words: Sequence[Word]) -> list[Word]:
    """Those of the words that can be taken away while the question stays."""
    free = set(removable(row))
    return [word for word in words if set(word.places) <= free]


def asked_row(model: Model, given: Any, target: Wanted) -> Row:
    """The question of an explanation, to be asked again without some words."""
    (row,) = ask(model, given, target, twice=False)
    return row


def rank_correlation(effects: Sequence[Effect]) -> float:
    """Spearman's, of predicted and actual effects; not a number for fewer than three or where all are equal."""
    if len(effects) < 3:
        return float("nan")
    pairs = np.array([[effect.predicted, effect.actual] for effect in effects])
    ranks = np.stack([_ranks(column) for column in pairs.T])
    if (ranks == ranks[:, :1]).all(axis=1).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1, equal values sharing the mean of theirs."""
    low, high = (np.searchsorted(np.sort(values), values, side=side) for side in ("left", "right"))
    return (low + high + 1) / 2


def _places(group: Sequence[Word]) -> list[int]:
    return [place for word in group for place in word.places]
