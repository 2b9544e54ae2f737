"""Whether the tokens that an explanation ranks first are those the model relies on: remove them, and ask the model.

Every measure here asks the model about the same few edited inputs, so all are computed together, for many explanations
of many inputs at once. Three things are decided once for all of them: which tokens take part (`removable`), that a
share of tokens is rounded up, so that the smallest share of the shortest text is one token, and that tokens of equal
relevance stand in the order of the text.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from scipy.integrate import trapezoid

from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.models.loading import Model
from lignite.models.prediction import Row, filler, predict, remove_tokens, replace_tokens
from lignite.request import as_names, check_choice

FILLS = ("mask", "pad", "delete")
OUTPUTS = ("probability", "logit")
BINS = (1, 5, 10, 20, 50)
"""Percentages of tokens at which ERASER asks for comprehensiveness and sufficiency."""
LOG_ODDS_BIN = 20

ROWS_AT_ONCE = 8192
_LEAST = np.finfo(np.float64).tiny  # a probability may underflow to 0, whose logarithm no mean survives

Relevances = Sequence[np.ndarray]


def removable(row: Row) -> list[int]:
    """Places of the tokens that the measures may remove: no padding, no special token, not the one read by the head."""
    tokens = row.encoded.tokens
    return [
        place
        for place in range(len(tokens))
        if not (tokens.padding[place] or tokens.special[place] or place == row.objective.position)
    ]


def by_place(number: int, row: Row, relevance: np.ndarray, *, method: str = "") -> np.ndarray:
    """Relevances by place in the model's input, 0 for padding, checked; `number` and `method` name them in errors."""
    kept = ~np.asarray(row.encoded.tokens.padding, dtype=bool)
    scores = np.asarray(relevance, dtype=np.float64)
    origin = f"{method}: " if method else ""
    if scores.shape != (kept.sum(),):
        raise InputError(
            f"{origin}the relevances of row {number} ({_begin(row)}) have shape {scores.shape}, but the row has "
            f"{int(kept.sum())} tokens without padding; give one number for each."
        )
    if not np.isfinite(scores).all():
        raise NotFiniteError(f"{origin}a relevance of row {number} ({_begin(row)}) is NaN or infinite.")
    placed = np.zeros(len(kept))
    placed[kept] = scores
    return placed


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
    fills: str | Iterable[str] = FILLS,
    steps: int = 10,
    memory: int | float | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Remove tokens in the order of their relevance, the most relevant first, and watch the explained output.

    Parameters
    ----------
    rows
        From `lignite.models.prediction.ask`: inputs, each with what is explained of it.
    relevances
        One array per row, one number per token of the row that is no padding; or such a list for every method, by name.
        Signed: what speaks against the explained output is removed last.
    fills
        What removing means: ``"mask"`` and ``"pad"`` put that token in the place, which the model reads like any other;
        ``"delete"`` makes the text shorter. What the fill leaves of the text differs, so measures differ, too.
    steps
        Points of the curves after the first; a text of fewer tokens has fewer distinct points.
    progress
        Called with the examples finished and their number.

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
    chosen = as_names("fills", fills)
    _check_options(model, chosen, steps)
    texts = _texts(rows, chosen)
    orders = {name: _orders(name, rows, given) for name, given in methods.items()}
    answers = _ask_all(model, texts, orders, chosen, steps, memory, progress)
    n_tokens = np.array([len(removable(row)) for row in rows])
    return _measure(answers, n_tokens, steps, chosen, list(methods))


@dataclass(frozen=True)
class _Text:
    """One input, however often it is among the rows."""

    row: Row
    examples: list[int]


@dataclass
class _Answers:
    """What the model said, by [method, example, fill, point]: deletion, insertion, bins removed, bins alone."""

    value: np.ndarray
    probability: np.ndarray
    label: np.ndarray


@dataclass
class _Questions:
    """Edited inputs, each once."""

    rows: list[Row] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def number(self, text: int, row: Row, removed: np.ndarray, fill: str, fill_ids: Mapping[str, int]) -> int:
        places = np.sort(removed)
        key = (text, fill if len(places) else "", places.tobytes())
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = len(self.rows)
            if not len(places):
                self.rows.append(row)
            elif fill == "delete":
                self.rows.append(remove_tokens(row, places.tolist()))
            else:
                self.rows.append(replace_tokens(row, places.tolist(), fill_ids[fill]))
        return known


def _check_options(model: Model, fills: tuple[str, ...], steps: int) -> None:
    if not fills:
        raise OptionError(f"fills is empty; give some of {', '.join(FILLS)}.")
    for name in fills:
        check_choice("fills", name, FILLS)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise OptionError(f"steps={steps!r} must be a whole number of points on a curve, at least 1.")
    for name in fills:
        if name != "delete":
            filler(model, name)


def _texts(rows: Sequence[Row], fills: Sequence[str]) -> list[_Text]:
    if not rows:
        raise InputError("there are no rows to measure; give at least one.")
    found: dict[Hashable, _Text] = {}
    for number, row in enumerate(rows):
        places = removable(row)
        if not places:
            raise InputError(
                f"row {number} ({_begin(row)}) has no token that may be removed (special tokens and the one that is "
                "read stay); leave it out."
            )
        if "delete" in fills and len(places) == row.n_tokens:
            raise OptionError(
                f"fills='delete' would leave nothing of row {number} ({_begin(row)}), which has no special token that "
                "stays; use 'mask' or 'pad'."
            )
        found.setdefault(_identity(row), _Text(row, [])).examples.append(number)
    return list(found.values())


def _identity(row: Row) -> Hashable:
    """Equal for rows of which the model says the same."""
    objective = row.objective
    tensors = tuple((name, tensor.cpu().numpy().tobytes()) for name, tensor in sorted(row.encoded.tensors.items()))
    asked = (
        objective.kind, objective.index, objective.against, objective.position, objective.part, objective.function
    )  # fmt: skip
    return tensors, asked, row.encoded.tokens.special, row.encoded.tokens.padding


def _begin(row: Row) -> str:
    return repr(row.encoded.tokens.input[:40] or " ".join(row.encoded.tokens.text)[:40])


def _orders(method: str, rows: Sequence[Row], relevances: Relevances) -> list[np.ndarray]:
    """Places that may be removed, the most relevant first, for every row."""
    if len(relevances) != len(rows):
        raise InputError(f"{method}: {len(relevances)} explanations of {len(rows)} rows; give one for each.")
    orders = []
    for number, (row, given) in enumerate(zip(rows, relevances, strict=True)):
        places = np.array(removable(row), dtype=np.int64)
        scores = by_place(number, row, given, method=method)[places]
        orders.append(places[np.argsort(-scores, kind="stable")])
    return orders


def _ask_all(
    model: Model,
    texts: list[_Text],
    orders: Mapping[str, list[np.ndarray]],
    fills: tuple[str, ...],
    steps: int,
    memory: int | float | str | None,
    progress: Callable[[int, int], None] | None,
) -> _Answers:
    """Collect edited inputs of as many texts as are asked about at once, ask, and go on."""
    n_examples = sum(len(text.examples) for text in texts)
    shape = (len(orders), n_examples, len(fills), 2 * (steps + 1) + 2 * len(BINS))
    answers = _Answers(np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int64))
    fill_ids = {name: filler(model, name) for name in fills if name != "delete"}
    waiting: dict[int, list[np.ndarray]] = {}
    questions, finished = _Questions(), 0
    for number, text in enumerate(texts):
        for example in text.examples:
            waiting[example] = [
                _ask_about(questions, number, text.row, given[example], fills, steps, fill_ids)
                for given in orders.values()
            ]
        if len(questions.rows) < ROWS_AT_ONCE and number + 1 < len(texts):
            continue
        said = predict(model, questions.rows, memory=memory)
        examples, numbers = list(waiting), np.array(list(waiting.values())).swapaxes(0, 1)
        answers.value[:, examples] = said.value.numpy()[numbers]
        answers.probability[:, examples] = said.probability.numpy()[numbers]
        answers.label[:, examples] = said.label.numpy()[numbers]
        finished += len(examples)
        questions, waiting = _Questions(), {}
        if progress is not None:
            progress(finished, n_examples)
    return answers


def _ask_about(
    questions: _Questions,
    text: int,
    row: Row,
    order: np.ndarray,
    fills: tuple[str, ...],
    steps: int,
    fill_ids: Mapping[str, int],
) -> np.ndarray:
    """Numbers of the questions about one explanation, [fill, point]."""
    n_tokens = len(order)
    deleted, inserted = _counts(n_tokens, steps)
    binned = [n_removed(share, 100, n_tokens) for share in BINS]
    removed = [order[:count] for count in deleted] + [order[count:] for count in inserted]
    removed += [order[:count] for count in binned] + [order[count:] for count in binned]
    return np.array([[questions.number(text, row, gone, fill, fill_ids) for gone in removed] for fill in fills])


def _counts(n_tokens: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens removed along the deletion curve, and tokens present along the insertion curve.

    The one is the other read from its end, so that inserting the most relevant first visits the very inputs that
    deleting the least relevant first does.
    """
    removed = np.array([n_removed(step, steps, n_tokens) for step in range(steps + 1)])
    return removed, n_tokens - removed[::-1]


def _measure(
    answers: _Answers, n_tokens: np.ndarray, steps: int, fills: tuple[str, ...], methods: list[str]
) -> xr.Dataset:
    points = np.cumsum([steps + 1, steps + 1, len(BINS)])
    both = np.stack([answers.probability, answers.value], axis=3)  # [method, example, fill, output, point]
    deletion, insertion, without, alone = np.split(both, points, axis=-1)
    counts = [_counts(int(n), steps) for n in n_tokens]
    share_gone, share_there = (
        np.stack([pair[which] / n for pair, n in zip(counts, n_tokens, strict=True)]) for which in (0, 1)
    )
    whole = deletion[..., :1]
    areas = {
        "deletion": trapezoid(deletion, share_gone[None, :, None, None], axis=-1),
        "insertion": trapezoid(insertion, share_there[None, :, None, None], axis=-1),
    }
    between = areas["insertion"] - areas["deletion"]
    logs = np.log(np.maximum(without[..., 0, :], _LEAST)) - np.log(np.maximum(whole[..., 0, :], _LEAST))
    flip, flipped = _flips(answers.label[..., : steps + 1], share_gone)
    each, by_output = ("method", "example", "fill"), ("method", "example", "fill", "output")
    variables = {
        **{name: (by_output, area) for name, area in areas.items()},
        "insertion_minus_deletion": (by_output, between),
        "area_between": (each, between[..., OUTPUTS.index("logit")]),
        "comprehensiveness": (by_output, (whole - without).mean(-1)),
        "sufficiency": (by_output, (whole - alone).mean(-1)),
        "log_odds": (each, logs[..., BINS.index(LOG_ODDS_BIN)]),
        "decision_flip": (each, flip),
        "flipped": (each, flipped),
        "comprehensiveness_bins": ((*by_output, "bin"), whole - without),
        "sufficiency_bins": ((*by_output, "bin"), whole - alone),
        "log_odds_bins": ((*each, "bin"), logs),
        "deletion_curve": ((*by_output, "step"), deletion),
        "insertion_curve": ((*by_output, "step"), insertion),
        "deletion_share": (("example", "step"), share_gone),
        "insertion_share": (("example", "step"), share_there),
        "value": (("example",), answers.value[0, :, 0, 0]),
        "probability": (("example",), answers.probability[0, :, 0, 0]),
        "label": (("example",), answers.label[0, :, 0, 0]),
        "n_tokens": (("example",), n_tokens),
    }
    coords = {
        "method": methods,
        "example": np.arange(len(n_tokens)),
        "fill": list(fills),
        "output": list(OUTPUTS),
        "bin": list(BINS),
        "step": np.arange(steps + 1),
    }
    return xr.Dataset(variables, coords, {"kind": "faithfulness"})


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
