"""Whether the tokens that an explanation ranks first are those the model relies on: remove them, and ask the model.

Every measure here asks the model about the same few edited inputs, so all are computed together, for many explanations
of many inputs at once. Three things are decided once for all of them: which tokens take part (`removable`), that a
share of tokens is rounded up, so that the smallest share of the shortest text is one token, and that tokens of equal
relevance stand in the order of the text. The tokens of an image are its patches; with `pixelwise`, what is removed are
its single pixels.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.integrate import trapezoid

from lignite.calls import as_names, check_choice, check_count
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.session import beginning, by_place
from lignite.models.load import Model
from lignite.results.pixels import boxes_of, enlarge
from lignite.targets.ask import Prediction, predict
from lignite.targets.edits import cover_pixels, is_image, removable
from lignite.targets.fills import Corpus, Way, check_fills, corpus_of, ways_of
from lignite.targets.rows import Row

PARTS = ("curves", "bins", "perturbation")
OUTPUTS = ("probability", "logit")
BINS = (1, 5, 10, 20, 50)
"""Percentages of tokens at which ERASER asks for comprehensiveness and sufficiency."""
LOG_ODDS_BIN = 20
PERTURBED = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Percentages that Chefer et al. (2021) remove from images."""

ROWS_AT_ONCE = 8192
BYTES_AT_ONCE = 2**28
"""Fewer rows where they are large: a row of an image holds its pixels."""
_LEAST = np.finfo(np.float64).tiny  # a probability may underflow to 0, whose logarithm no mean survives

Relevances = Sequence[np.ndarray]


def n_removed(share: int, of: int, n_tokens: int) -> int:
    """How many of `n_tokens` tokens `share` of `of` parts are, rounded up, in whole numbers.

    Examples
    --------
    Five per cent of three tokens is one of them:

    >>> n_removed(5, 100, 3)
    1
    """
    return -(-share * n_tokens // of)


def faithfulness(
    model: Model,
    rows: Sequence[Row],
    relevances: Relevances | Mapping[str, Relevances],
    *,
    fills: str | Iterable[str] = "neutral",
    corpus: Corpus | None = None,
    steps: int = 10,
    parts: str | Iterable[str] = ("curves", "bins"),
    pixelwise: bool = False,
    labels: Sequence[int] | None = None,
    memory: int | float | str | None = None,
) -> xr.Dataset:
    """Remove tokens in the order of their relevance, the most relevant first, and watch the explained output.

    Parameters
    ----------
    rows
        From `lignite.targets.ask.ask`: inputs, each with what is explained of it.
    relevances
        One array per row, one number per token of the row that is no padding; or such a list for every method, by name.
        Signed: what speaks against the explained output is removed last.
    fills
        What removing means. ``"delete"`` makes the text shorter; ``"hide"`` hides words from everybody by the attention
        mask, and all keep their places; ``"unigram"`` puts words there that are drawn from a corpus, several times, and
        averages what the model says, probabilities and logits: ``"neutral"`` is short for those of the three that the
        model can do, since they are no method's baseline. ``"mask"`` and ``"pad"`` put that token in the place, which
        the model reads like any other. Patches and pixels of an image are covered: by ``"others"``, those of other
        pictures at the same place, drawn several times, which is what ``"neutral"`` means for images; by ``"black"``,
        ``"grey"``, a ``"blur"`` of the image or ``"mean"``, its average patch. What the fill leaves of the input
        differs, so measures differ, too.
    corpus
        Where words or patches are drawn from; by default the rows themselves, four draws.
    steps
        Points of the curves after the first; a text of fewer tokens has fewer distinct points.
    parts
        What is asked: ``"curves"``, ``"bins"``, ``"perturbation"``; fewer parts are fewer questions.
    pixelwise
        Remove pixels of an image one by one, after relevances have been enlarged between the patches' centres
        (bilinear). Pixels that no patch covers stay. The n of the measures below is then that of the pixels.
    labels
        For `perturbation`: number of the class that each row should be given; by default the explained one.

    Returns
    -------
    A Dataset over `method`, `example` and `fill`; select a method by ``.sel({"method": name})``, since xarray's own
    `method=` means something else. With n the tokens that may be removed, and for `output` both the probability and the
    logit (or whatever number is explained; without a probability, NaN):

    - `deletion_curve`, `insertion_curve` (output, step): output after ``ceil(k n / steps)`` most relevant tokens are
      removed; output when only the ``floor(k n / steps)`` most relevant are there. `deletion_share`, `insertion_share`
      hold these numbers divided by n.
    - `deletion`, `insertion` (output): areas under the curves, over the shares; `insertion_minus_deletion`.
    - `area_between`: area between the curves of removing the least and the most relevant first, by logit (AttnLRP's
      measure). The first curve is the insertion curve read from its end, so this is `insertion_minus_deletion`.
    - `comprehensiveness_bins`, `sufficiency_bins` (output, bin): fall of the output when the most relevant 1, 5, 10, 20
      and 50 % are removed, or alone are left (ERASER); `comprehensiveness`, `sufficiency` (output): means over bins.
    - `log_odds_bins` (bin): log of the probability with the most relevant removed, minus the log of the probability;
      `log_odds`: at 20 %.
    - `decision_flip`: share of tokens removed at the first step at which another label leads, 1 if none ever does;
      `flipped`: 1 if one does, else 0. NaN where there are no labels.
    - `positive_perturbation_hits`, `negative_perturbation_hits` (percent: 0, 10 … 90): 1 where the input is still given
      its label after ``floor(percent n / 100)`` most, or least, relevant tokens are removed. `positive_perturbation`,
      `negative_perturbation`: areas under them by trapezoids, from 0 to 0.9, whose mean over examples is the area under
      the accuracy as Chefer et al. (2021) report it. `untouched` (example): of the input as it is. NaN where there are
      no labels.
    - `value`, `probability`, `label` (example): of the input as it is; `n_tokens`: n.

    Raises
    ------
    InputError
        If relevances do not fit their rows, or a row has no token that may be removed.
    OptionError
        If the model has no such fill, or deleting would leave nothing of an input.
    """
    methods: dict[str, Relevances] = dict(relevances) if isinstance(relevances, Mapping) else {"given": relevances}
    if not methods:
        raise InputError("there are no explanations to measure; give at least one method's.")
    if not rows:
        raise InputError("there are no rows to measure; give at least one.")
    images = is_image(rows[0])
    chosen = check_fills(model, fills, images=images, row=rows[0])
    plan = _Plan(
        fills=chosen,
        corpus=corpus or corpus_of(model, rows, chosen),
        steps=steps,
        parts=as_names("parts", parts),
        pixelwise=pixelwise,
    )
    _check_options(plan, images=images)
    texts = _texts(rows, plan.fills)
    orders = {name: _orders(name, rows, given, pixelwise=pixelwise) for name, given in methods.items()}
    answers = _ask_all(model, texts, orders, plan, memory)
    n_tokens = np.array([len(order) for order in next(iter(orders.values()))])
    return _measure(answers, n_tokens, plan, list(methods), _wanted(rows, labels))


@dataclass(frozen=True)
class _Plan:
    fills: tuple[str, ...]
    corpus: Corpus | None
    steps: int
    parts: tuple[str, ...]
    pixelwise: bool

    @cached_property
    def ways(self) -> list[Way]:
        return ways_of(self.fills, self.corpus)

    def by_fill(self, of_ways: np.ndarray, axis: int = 2) -> np.ndarray:
        """Means over the drawings of each fill."""
        groups = [[number for number, way in enumerate(self.ways) if way.fill == fill] for fill in self.fills]
        return np.stack([of_ways.take(group, axis).mean(axis) for group in groups], axis)

    def sizes(self) -> dict[str, int]:
        """Questions about one explanation under one fill, by what they are for, in this order."""
        named = {
            "curves": {"deletion": self.steps + 1, "insertion": self.steps + 1},
            "bins": {"without": len(BINS), "alone": len(BINS)},
            "perturbation": {"positive": len(PERTURBED), "negative": len(PERTURBED)},
        }
        chosen = (sizes for part, sizes in named.items() if part in self.parts)
        return {"whole": 1} | {name: size for sizes in chosen for name, size in sizes.items()}

    def removed(self, order: np.ndarray) -> list[np.ndarray]:
        """What each of these questions removes."""
        n = len(order)
        deleted, inserted = _counts(n, self.steps)
        binned = [n_removed(share, 100, n) for share in BINS]
        perturbed = [share * n // 100 for share in PERTURBED]  # rounded down, as published
        gone = {
            "whole": [order[:0]],
            "deletion": [order[:count] for count in deleted],
            "insertion": [order[count:] for count in inserted],
            "without": [order[:count] for count in binned],
            "alone": [order[count:] for count in binned],
            "positive": [order[:count] for count in perturbed],
            "negative": [order[n - count :] for count in perturbed],
        }
        return [removed for name in self.sizes() for removed in gone[name]]


_Text = tuple[Row, list[int]]
"""One input, and the places at which it is among the rows."""

_Answers = Mapping[str, np.ndarray]
"""What the model said, its `value`, `probability` and `label`, by [method, example, way, question]."""


@dataclass(frozen=True)
class _Question:
    """An input, and what is removed of it: flags of its tokens or pixels, eight in a byte."""

    row: Row
    flags: np.ndarray
    way: Way | None
    plan: _Plan

    def edited(self, model: Model) -> Row:
        if self.way is None:
            return self.row
        if self.plan.pixelwise:
            shape = self.row.encoded.tensors["pixel_values"].shape[2:]
            pixels = np.unpackbits(self.flags, count=shape.numel()).astype(bool)
            covering = self.way.covering(self.row, self.plan.corpus)
            return cover_pixels(model, self.row, pixels.reshape(shape), covering)
        places = np.unpackbits(self.flags).nonzero()[0].tolist()
        return self.way.without(model, self.row, places, self.plan.corpus)


@dataclass
class _Questions:
    """Edited inputs, each once."""

    plan: _Plan
    asked: list[_Question] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def number(self, text: int, row: Row, removed: np.ndarray, way: Way) -> int:
        size = row.encoded.tensors["pixel_values"].shape[2:].numel() if self.plan.pixelwise else row.n_tokens
        flags = np.zeros(size, dtype=bool)
        flags[removed] = True
        question = _Question(row, np.packbits(flags), way if len(removed) else None, self.plan)
        key = (text, question.way, question.flags.tobytes())
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = len(self.asked)
            self.asked.append(question)
        return known

    def answers(self, model: Model, memory: int | float | str | None) -> Iterator[Prediction]:
        """Images are edited as they are asked about: all at once they would not fit the memory."""
        size = sum(tensor.nbytes for tensor in self.asked[0].row.encoded.tensors.values())
        at_once = max(1, BYTES_AT_ONCE // size) if is_image(self.asked[0].row) else len(self.asked)
        for first in range(0, len(self.asked), at_once):
            some = self.asked[first : first + at_once]
            yield predict(model, [question.edited(model) for question in some], memory=memory)


def _check_options(plan: _Plan, *, images: bool) -> None:
    check_count("steps", plan.steps)
    if not plan.parts:
        raise OptionError(f"parts is empty; give some of {', '.join(PARTS)}.")
    for name in plan.parts:
        check_choice("parts", name, PARTS)
    if plan.pixelwise and not images:
        raise OptionError("pixelwise=True removes pixels of images, and these rows are texts; leave it out.")


def _texts(rows: Sequence[Row], fills: Sequence[str]) -> list[_Text]:
    if len({is_image(row) for row in rows}) > 1:
        raise InputError("some rows are images and others texts, which are removed from differently: give one kind.")
    found: dict[Hashable, _Text] = {}
    for number, row in enumerate(rows):
        places = removable(row)
        if not places:
            raise InputError(
                f"row {number} ({beginning(row)}) has no token that may be removed (special tokens and the one that is "
                "read stay); leave it out."
            )
        emptying = next((fill for fill in fills if fill in ("delete", "hide")), None)
        if emptying and len(places) == row.n_tokens:
            raise OptionError(
                f"fills={emptying!r} would leave nothing of row {number} ({beginning(row)}), which has no special "
                "token that stays; use 'unigram', or 'mask' or 'pad', a token that the model can read."
            )
        found.setdefault(_identity(row), (row, []))[1].append(number)
    return list(found.values())


def _identity(row: Row) -> Hashable:
    """Equal for rows of which the model says the same."""
    objective = row.objective
    tensors = tuple((name, tensor.cpu().numpy().tobytes()) for name, tensor in sorted(row.encoded.tensors.items()))
    asked = (
        objective.kind, objective.index, objective.against, objective.position, objective.part, objective.function
    )  # fmt: skip
    return tensors, asked, row.encoded.tokens.special, row.encoded.tokens.padding


def _orders(method: str, rows: Sequence[Row], relevances: Relevances, *, pixelwise: bool) -> list[np.ndarray]:
    """Places, or numbers of pixels, that may be removed, the most relevant first, for every row."""
    if len(relevances) != len(rows):
        raise InputError(f"{method}: {len(relevances)} explanations of {len(rows)} rows; give one for each.")
    orders = []
    for number, (row, given) in enumerate(zip(rows, relevances, strict=True)):
        scores = by_place(number, row, given, method=method)
        if pixelwise:
            pixels = _by_pixel(row, scores)
            units = np.flatnonzero(~np.isnan(pixels))
            scores = pixels[units]
        else:
            units = np.array(removable(row), dtype=np.int64)
            scores = scores[units]
        orders.append(units[np.argsort(-scores, kind="stable")])
    return orders


def _by_pixel(row: Row, scores: Float[np.ndarray, " token"]) -> Float[np.ndarray, " pixel"]:
    """Relevances of pixels in reading order, NaN for those that no patch covers."""
    boxes = boxes_of(row.encoded.tokens.columns())
    if boxes is None:
        raise InputError(
            f"the patches of {beginning(row)} have no known places in the picture, so pixels have no relevance: leave "
            "pixelwise=False."
        )
    return enlarge(scores, boxes, tuple(row.encoded.tensors["pixel_values"].shape[2:]), smooth=True).ravel()


def _wanted(rows: Sequence[Row], labels: Sequence[int] | None) -> np.ndarray:
    """The label that leads where an input is classified as it should be, -1 where there are no labels."""
    if labels is not None and len(labels) != len(rows):
        raise InputError(f"{len(labels)} labels of {len(rows)} rows; give one for each.")
    wanted = []
    for number, row in enumerate(rows):
        link, index = row.objective.link, row.objective.index
        if row.objective.function is not None or link not in ("softmax", "sigmoid"):
            wanted.append(-1)
        elif link == "sigmoid":  # several may hold at once: 1 says that the explained one does
            wanted.append(1)
        else:
            wanted.append(-1 if index is None else index if labels is None else int(labels[number]))
    return np.array(wanted)


def _ask_all(
    model: Model,
    texts: list[_Text],
    orders: Mapping[str, list[np.ndarray]],
    plan: _Plan,
    memory: int | float | str | None,
) -> _Answers:
    """Collect edited inputs of as many texts as are asked about at once, ask, and go on."""
    n_examples = sum(len(places) for _, places in texts)
    shape = (len(orders), n_examples, len(plan.ways), sum(plan.sizes().values()))
    kinds = {"value": np.float64, "probability": np.float64, "label": np.int64}
    answers = {name: np.empty(shape, dtype=kind) for name, kind in kinds.items()}
    waiting: dict[int, list[np.ndarray]] = {}
    questions = _Questions(plan)
    for number, (row, places) in enumerate(texts):
        for example in places:
            waiting[example] = [_ask_about(questions, number, row, given[example], plan) for given in orders.values()]
        if len(questions.asked) < ROWS_AT_ONCE and number + 1 < len(texts):
            continue
        said = list(questions.answers(model, memory))
        examples, numbers = list(waiting), np.array(list(waiting.values())).swapaxes(0, 1)
        for name, known in answers.items():
            known[:, examples] = np.concatenate([getattr(some, name).numpy() for some in said])[numbers]
        questions, waiting = _Questions(plan), {}
    return answers


def _ask_about(questions: _Questions, text: int, row: Row, order: np.ndarray, plan: _Plan) -> np.ndarray:
    """Numbers of the questions about one explanation, [way, question]."""
    removed = plan.removed(order)
    return np.array([[questions.number(text, row, gone, way) for gone in removed] for way in plan.ways])


def _counts(n_tokens: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens removed along the deletion curve, and tokens present along the insertion curve.

    The one is the other read from its end, so that inserting the most relevant first visits the very inputs that
    deleting the least relevant first does.
    """
    removed = np.array([n_removed(step, steps, n_tokens) for step in range(steps + 1)])
    return removed, n_tokens - removed[::-1]


def _measure(
    answers: _Answers, n_tokens: np.ndarray, plan: _Plan, methods: list[str], wanted: np.ndarray
) -> xr.Dataset:
    sizes = plan.sizes()
    ends = np.cumsum(list(sizes.values()))[:-1]
    said_by_fill = [plan.by_fill(said) for said in (answers["probability"], answers["value"])]
    both = np.stack(said_by_fill, axis=3)  # [method, example, fill, output, question]
    said = dict(zip(sizes, np.split(both, ends, axis=-1), strict=True))
    labels = dict(zip(sizes, np.split(answers["label"], ends, axis=-1), strict=True))
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    coords: dict[str, list[Any] | np.ndarray] = {
        "method": methods,
        "example": np.arange(len(n_tokens)),
        "fill": list(plan.fills),
        "output": list(OUTPUTS),
    }
    if "curves" in plan.parts:
        variables |= _curves(said, labels, n_tokens, plan)
        coords["step"] = np.arange(plan.steps + 1)
    if "bins" in plan.parts:
        variables |= _bins(said)
        coords["bin"] = list(BINS)
    if "perturbation" in plan.parts:
        variables |= _perturbation(labels, wanted, plan)
        coords["percent"] = [0, *PERTURBED]
    variables |= {
        **{name: (("example",), said[0, :, 0, 0]) for name, said in answers.items()},
        "n_tokens": (("example",), n_tokens),
    }
    return xr.Dataset(variables, coords, {"kind": "faithfulness"})


_EACH = ("method", "example", "fill")
_BY_OUTPUT = (*_EACH, "output")

_Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


def _curves(said: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], n: np.ndarray, plan: _Plan) -> _Variables:
    counts = [_counts(int(size), plan.steps) for size in n]
    gone, there = (np.stack([pair[which] / size for pair, size in zip(counts, n, strict=True)]) for which in (0, 1))
    areas = {
        "deletion": trapezoid(said["deletion"], gone[None, :, None, None], axis=-1),
        "insertion": trapezoid(said["insertion"], there[None, :, None, None], axis=-1),
    }
    between = areas["insertion"] - areas["deletion"]
    flip, flipped = (plan.by_fill(found) for found in _flips(labels["deletion"], gone))
    return {
        **{name: (_BY_OUTPUT, area) for name, area in areas.items()},
        "insertion_minus_deletion": (_BY_OUTPUT, between),
        "area_between": (_EACH, between[..., OUTPUTS.index("logit")]),
        "decision_flip": (_EACH, flip),
        "flipped": (_EACH, flipped),
        "deletion_curve": ((*_BY_OUTPUT, "step"), said["deletion"]),
        "insertion_curve": ((*_BY_OUTPUT, "step"), said["insertion"]),
        "deletion_share": (("example", "step"), gone),
        "insertion_share": (("example", "step"), there),
    }


def _bins(said: Mapping[str, np.ndarray]) -> _Variables:
    whole, without, alone = said["whole"], said["without"], said["alone"]
    logs = np.log(np.maximum(without[..., 0, :], _LEAST)) - np.log(np.maximum(whole[..., 0, :], _LEAST))
    return {
        "comprehensiveness": (_BY_OUTPUT, (whole - without).mean(-1)),
        "sufficiency": (_BY_OUTPUT, (whole - alone).mean(-1)),
        "log_odds": (_EACH, logs[..., BINS.index(LOG_ODDS_BIN)]),
        "comprehensiveness_bins": ((*_BY_OUTPUT, "bin"), whole - without),
        "sufficiency_bins": ((*_BY_OUTPUT, "bin"), whole - alone),
        "log_odds_bins": ((*_EACH, "bin"), logs),
    }


def _perturbation(labels: Mapping[str, np.ndarray], wanted: np.ndarray, plan: _Plan) -> _Variables:
    right = wanted[None, :, None, None]
    shares = np.array([0, *PERTURBED]) / 100
    found: _Variables = {}
    for name in ("positive", "negative"):
        given = np.concatenate([labels["whole"], labels[name]], axis=-1)
        hits = plan.by_fill(np.where((right < 0) | (given < 0), np.nan, given == right))
        found[f"{name}_perturbation"] = (_EACH, trapezoid(hits, shares, axis=-1))
        found[f"{name}_perturbation_hits"] = ((*_EACH, "percent"), hits)
    found["untouched"] = (("example",), found["positive_perturbation_hits"][1][0, :, 0, 0])
    return found


def _flips(labels: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share removed at the first label that differs from the first one, 1 without; and whether there is one."""
    others = labels != labels[..., :1]
    flipped = others.any(-1)
    shares = np.broadcast_to(shares[None, :, None], labels.shape)
    first = np.take_along_axis(shares, others.argmax(-1)[..., None], axis=-1)[..., 0]
    unknown = labels[..., 0] < 0
    return (
        np.where(unknown, np.nan, np.where(flipped, first, 1.0)),
        np.where(unknown, np.nan, flipped.astype(np.float64)),
    )
