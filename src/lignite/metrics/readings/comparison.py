"""Explanations side by side: rows that they have in common, on one scale, and how far they agree."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from lignite.errors import GridError
from lignite.metrics.readings.alignment import AlignedRow
from lignite.metrics.readings.statistics import interval, rank_correlation
from lignite.results.certificate import certificates, largest_gap
from lignite.results.schema import COMPARISON, PICTURE, TOKEN_AXIS

MEASURES = ("spearman", "overlap", "changed")
"""Rank correlation of the scores; share of the strongest words that both have; share of the evidence that would have to
move."""

SUMMED = 1e-2
"""Scores add up to what they explain if their sum misses at most this share of it."""


@dataclass(frozen=True)
class How:
    """How explanations are compared; see `lignite.compare`."""

    reference: int = 0
    tokens: bool = False
    scale: str | None = None
    k: int = 5
    confidence: float = 0.95
    seed: int = 0


def compare_explanations(
    examples: Sequence[Sequence[xr.Dataset]], names: Sequence[str], rows: Sequence[Sequence[AlignedRow]], how: How
) -> xr.Dataset:
    """Compare explanations, one of each side for every example, by the rows that `align` found for it."""
    number = np.concatenate([np.full(len(some), at) for at, some in enumerate(rows)])
    summed = [
        np.stack([_summed(side, some, at) for at, side in enumerate(sides)])
        for sides, some in zip(examples, rows, strict=True)
    ]
    relevance = np.concatenate(summed, axis=1)
    flat = [row for some in rows for row in some]
    counts = ~np.array([row.special for row in flat])
    share = np.concatenate(
        [_shares(relevance[:, number == at], counts[number == at]) for at in range(len(examples))], 1
    )
    scale, reason = scale_of(examples, how.scale)
    compared = relevance if scale == "relevance" else share
    per_example = [
        _agreement(relevance[:, number == at], share[:, number == at], counts[number == at], how.k)
        for at in range(len(examples))
    ]
    agreement = np.stack([found for found, _ in per_example], axis=-1)
    variables: dict[str, Any] = {
        "relevance": (("side", TOKEN_AXIS), relevance),
        "share": (("side", TOKEN_AXIS), share),
        "difference": (("side", TOKEN_AXIS), _difference(compared, how.reference)),
        "agreement": (COMPARISON.others["agreement"], agreement),
        "chance": (("example",), np.array([chance for _, chance in per_example])),
        **{name: (("side", "example"), values) for name, values in _said(examples).items()},
        **intervals(agreement, "agreement", COMPARISON.others["agreement_mean"], how),
        **_picture(examples),
    }
    attrs = {"kind": COMPARISON.kind, "scale": scale, "scale_reason": reason, "k": how.k, "confidence": how.confidence,
             "seed": how.seed, "reference": names[how.reference]}  # fmt: skip
    coords = {
        "side": list(names),
        "against": list(names),
        "measure": list(MEASURES),
        "example": np.arange(len(examples)),
        **_words(examples),
    }
    found = xr.Dataset(variables, coords, attrs)
    return found.assign_coords(xr.Coordinates(_labels(examples[0], flat, number), indexes={}))


def scale_of(examples: Sequence[Sequence[xr.Dataset]], asked: str | None) -> tuple[str, str]:
    """Which variable is compared, and why: relevance where all sides have one unit, else shares of the evidence."""
    if asked is not None:
        return asked, "as asked for"
    everyone = [side for sides in examples for side in sides]
    if len({(side.attrs.get("model"), side.attrs.get("revision")) for side in everyone}) > 1:
        return "share", "logits of two models have no unit in common"
    if not all(map(_adds_up, everyone)):
        return "share", "not all scores add up to the number that is explained"
    return "relevance", "all scores add up to the number that is explained"


def displacement_of(dataset: xr.Dataset) -> float:
    """The change that an explanation explains; NaN where its method promises none."""
    for name in ("total_displacement", "displacement", "output_displacement"):
        if name in dataset and dataset[name].size:
            return float(np.ravel(dataset[name].values)[0])
    return float("nan")


def _adds_up(dataset: xr.Dataset) -> bool:
    values, change = dataset.relevance.values.astype(np.float64), displacement_of(dataset)
    return bool(abs(values.sum() - change) <= SUMMED * max(abs(change), float(abs(values).max(initial=0.0))))


def _summed(side: xr.Dataset, rows: Sequence[AlignedRow], number: int) -> Float[np.ndarray, " row"]:
    """What a side says of every row, the tokens of a row added up; NaN where it has no such word."""
    values = side.relevance.values.astype(np.float64)
    return np.array([values[list(row.places[number])].sum() if row.places[number] else np.nan for row in rows])


def _shares(
    relevance: Float[np.ndarray, "side row"], counts: Float[np.ndarray, " row"]
) -> Float[np.ndarray, "side row"]:
    """Relevance divided by the sum of magnitudes of a side's words, special tokens left out of it."""
    total = np.nansum(np.abs(relevance[:, counts]), axis=1, keepdims=True)
    return np.divide(relevance, total, out=np.zeros_like(relevance), where=total > 0)


def _difference(compared: Float[np.ndarray, "side row"], reference: int) -> Float[np.ndarray, "side row"]:
    """What every side says more than the reference; a word that only one of the two has counts in full."""
    beside = compared[reference]
    known = np.isfinite(compared) | np.isfinite(beside)
    return np.where(known, np.nan_to_num(compared) - np.nan_to_num(beside), np.nan)


def _agreement(
    relevance: Float[np.ndarray, "side row"],
    share: Float[np.ndarray, "side row"],
    counts: Bool[np.ndarray, " row"],
    k: int,
) -> tuple[Float[np.ndarray, "measure side against"], float]:
    """Every measure between every two sides, over the words that both have, and what chance gives the overlap."""
    n_sides = len(relevance)
    found = np.full((len(MEASURES), n_sides, n_sides), np.nan)
    chances = []
    for one, other in np.ndindex(n_sides, n_sides):
        both = counts & np.isfinite(relevance[one]) & np.isfinite(relevance[other])
        n_words = int(both.sum())
        first, second = relevance[one, both], relevance[other, both]
        found[0, one, other] = rank_correlation(first, second)
        if n_words >= 2:
            strongest = min(k, n_words // 2)
            found[1, one, other] = len(set(_largest(first, strongest)) & set(_largest(second, strongest))) / strongest
            chances.append(strongest / n_words)
        ours, theirs = (np.nan_to_num(share[side, counts]) for side in (one, other))
        found[2, one, other] = np.abs(ours - theirs).sum() / 2
    return found, float(np.mean(chances)) if chances else float("nan")


def _largest(values: Float[np.ndarray, " row"], count: int) -> list[int]:
    return np.argsort(-np.abs(values), kind="stable")[:count].tolist()


def intervals(values: np.ndarray, name: str, dims: tuple[str, ...], how: How) -> dict[str, Any]:
    """Means over the last axis, examples, with bootstrap intervals."""
    bounds = {bound: np.full(values.shape[:-1], np.nan) for bound in ("mean", "low", "high")}
    for place in np.ndindex(*values.shape[:-1]):
        found = interval(values[place], confidence=how.confidence, n_resamples=1999, seed=how.seed)
        for bound, held in bounds.items():
            held[place] = getattr(found, bound)
    return {f"{name}_{bound}": (dims, held) for bound, held in bounds.items()}


def _said(examples: Sequence[Sequence[xr.Dataset]]) -> dict[str, Float[np.ndarray, "side example"]]:
    """What the model says on every side: the explained number, and probabilities where there are any."""
    read = {
        "value": lambda side: float(side.attrs.get("value", np.nan)),
        "start_value": lambda side: float(side.attrs.get("value", np.nan)) - displacement_of(side),
        "predicted": lambda side: _probability(side, str(side.attrs.get("prediction", ""))),
        "probability": lambda side: _probability(side, target_of(side)),
        "largest_gap": largest_gap,
    }
    return {
        name: np.array([[ask(sides[at]) for sides in examples] for at in range(len(examples[0]))])
        for name, ask in read.items()
    }


def target_of(dataset: xr.Dataset) -> str:
    """What is explained, in words."""
    try:
        target = json.loads(str(dataset.attrs.get("target") or "{}"))
    except json.JSONDecodeError:
        target = str(dataset.attrs["target"])
    return str((target.get("name") or target.get("target") or "") if isinstance(target, dict) else target)


def _probability(dataset: xr.Dataset, label: str) -> float:
    if "probability" not in dataset or "class" not in dataset.coords:
        return float("nan")
    found = np.flatnonzero(dataset["class"].values.astype(str) == label)
    return float(dataset.probability.values[found[0]]) if len(found) == 1 else float("nan")


def _words(examples: Sequence[Sequence[xr.Dataset]]) -> Mapping[str, Any]:
    """Texts and predictions of every side, and whether its scores are settled."""
    each = [[sides[at] for sides in examples] for at in range(len(examples[0]))]
    read = {
        "text": lambda one: str(one.attrs.get("text", "")),
        "prediction": lambda one: str(one.attrs.get("prediction", "")),
        "target": target_of,
    }
    of_text = {
        name: np.array([[tell(one) for one in side] for side in each], dtype=np.str_) for name, tell in read.items()
    }
    settled = np.array([[all(sum_.kept for sum_ in certificates(one)) for one in side] for side in each])
    return {name: (("side", "example"), values) for name, values in {**of_text, "settled": settled}.items()}


def _labels(sides: Sequence[xr.Dataset], rows: Sequence[AlignedRow], number: np.ndarray) -> dict[str, Any]:
    first = [next((span for span in row.spans if span[1] > span[0]), (-1, -1)) for row in rows]
    along: dict[str, Any] = {
        "token": np.array([row.label for row in rows], dtype=np.str_),
        "position": np.arange(len(rows)),
        "word": np.array([-1 if row.special else at for at, row in enumerate(rows)]),
        "special": np.array([row.special for row in rows]),
        "start": np.array([span[0] for span in first]),
        "stop": np.array([span[1] for span in first]),
        "of_example": number,
    }
    for name in ("row", "col", "top", "left", "bottom", "right"):
        if name in sides[0].coords:
            places = [row.places[0][0] for row in rows]
            along[name] = sides[0][name].values[places]
    each = {
        "side_token": np.array([[row.written[at] for row in rows] for at in range(len(sides))], dtype=np.str_),
        "side_start": np.array([[row.spans[at][0] for row in rows] for at in range(len(sides))]),
        "side_stop": np.array([[row.spans[at][1] for row in rows] for at in range(len(sides))]),
    }
    return {name: (TOKEN_AXIS, values) for name, values in along.items()} | {
        name: (("side", TOKEN_AXIS), values) for name, values in each.items()
    }


def _picture(examples: Sequence[Sequence[xr.Dataset]]) -> dict[str, Any]:
    """The picture that all sides explain, if there is one."""
    sides = examples[0]
    if len(examples) > 1 or PICTURE not in sides[0]:
        return {}
    first = sides[0][PICTURE]
    if not all(PICTURE in side and np.array_equal(side[PICTURE].values, first.values) for side in sides):
        raise GridError("the results explain other pictures: compare results of one picture.")
    return {PICTURE: first.variable}
