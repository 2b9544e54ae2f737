"""Report: a decision in plain words, with what would have changed it, each change checked by asking the model."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import xarray as xr

from lignite.api.compare import compare
from lignite.api.explain import explain
from lignite.calls import public
from lignite.errors import InputError
from lignite.methods import Method
from lignite.methods.options import choose
from lignite.metrics.asking.decisions import (
    Answer,
    Change,
    Edits,
    ImageEdits,
    Part,
    TextEdits,
    beside_others,
    check_decides,
    find_instead,
    find_without,
    flips,
)
from lignite.models.load import Model, as_model
from lignite.results.certificate import certificates, largest_gap
from lignite.results.schema import REPORT, TOKEN_AXIS
from lignite.targets.ask import ask
from lignite.targets.rows import Row

SINGLES = 64
"""Words that are taken out one by one, the strongest of a long text."""

EXCHANGED = 5
"""Words that are exchanged for others: those that the explanation names, and those that matter most by themselves."""

LISTED = 3
"""Changes of one kind that are told."""

STRONGEST = 3
"""So many words are taken out together, and compared with as many others."""


@public
def report(
    model: Any,
    given: Any,
    *,
    method: str | Method = "relevance-flow",
    second: str | Method | None = None,
    seed: int = 0,
    memory: int | float | str | None = None,
) -> xr.Dataset:
    """Tell people who do not read code what was decided, why, how sure that is, and what would have changed it.

    Every change that the report names was tried on the model. Words are taken out one by one; where none of them
    decides alone, along the explanation until the decision changes, and put back as long as it stays changed. Single
    words are exchanged for those that the model reads most alike. Of a picture, patches are covered.

    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards. It decides among classes,
        or continues a text with a word.
    given
        A text or a pair of texts; for models of images a picture or its file.
    method, second
        Explains the decision; and the method that it is compared with: by default `occlusion` (or `ig` beside it).
    seed
        Of the words that are drawn by lot.
    memory
        For intermediate tensors: bytes or a text such as ``"2 GiB"``; results do not depend on it.

    Returns
    -------
    A Dataset as laid out in docs/results-layout.md, to be shown, saved (.html, .nc, .json, .csv) and opened.

    Raises
    ------
    InputError
        If the model does not decide among several answers, or the input is no text and no picture.

    Examples
    --------
    >>> import lignite
    >>> model = lignite.load("tiny-sentiment")
    >>> told = lignite.report(model, "A superb film.")
    >>> told.prediction, str(told.token.values[told.relevance.values.argmax()])
    ('positive', 'superb')
    """
    model, chosen = as_model(model), choose(method, {})
    rows = ask(model, [given])
    if len(rows) != 1:
        raise InputError(f"a report is of one input, and {len(rows)} were given: report them one by one.")
    check_decides(rows[0])
    why = explain(model, [given], method=chosen, memory=memory)[0]
    other = choose(second or ("ig" if chosen.name == "occlusion" else "occlusion"), {})
    beside = explain(model, [given], method=other, memory=memory)[0]
    compared = compare(why, beside, names=(_called(chosen), _called(other) + (" " if chosen == other else "")))
    words = why if "row" in why.coords else why.lignite.merge_words()
    edits = _edits(model, given, rows[0], words)
    return _told(words, why, compared, _try(edits, words, seed), (chosen, other))


def _called(method: Method) -> str:
    return method.name


def _edits(model: Model, given: Any, row: Row, words: xr.Dataset) -> Edits:
    if "pixel_values" in row.encoded.tensors:
        return ImageEdits(model, [Part(place=int(place)) for place in words.position.values], row)
    texts = given if isinstance(given, tuple) else (given,)
    if not all(isinstance(text, str) for text in texts):
        raise InputError("a report tells of a text, a pair of texts or a picture: give one of these.")
    segments = words["segment"].values.tolist() if "segment" in words.coords else [0] * words.sizes[TOKEN_AXIS]
    spans = zip(segments, words.start.values.tolist(), words.stop.values.tolist(), strict=True)
    behind = (0, len(texts[0]) + 1)  # offsets count in both texts, joined by a line break
    parts = [Part(text, start - behind[text], stop - behind[text]) for text, start, stop in _in_texts(spans)]
    return TextEdits(model, tuple(texts), parts, row)


def _in_texts(spans: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """The number of the text, and the span in all of them; what stands nowhere belongs to the first."""
    for segment, start, stop in spans:
        yield (segment, start, stop) if stop > start >= 0 <= segment else (0, -1, -1)


# What is tried


@dataclass(frozen=True)
class Tried:
    """What became of the decision under changes."""

    changes: list[Change]
    texts: list[str]
    alone: list[Answer | None]
    largest: Change | None
    strongest: list[int]
    strongest_gone: float
    others_gone: float


def _try(edits: Edits, words: xr.Dataset, seed: int) -> Tried:
    decision = edits.row.objective.index
    assert decision is not None  # `check_decides` has seen it
    relevance = words.relevance.values.astype(np.float64)
    able = _able(edits, words)
    order = sorted((at for at in able if relevance[at] > 0), key=lambda at: -relevance[at])
    singles = sorted(able, key=lambda at: -abs(relevance[at]))[:SINGLES]
    alone = dict(zip(singles, edits.answers([frozenset([at]) for at in singles]), strict=True))
    left = {at: answer.before for at, answer in alone.items() if answer}
    falling = sorted(left, key=lambda at: left[at])
    changes, largest = _taken_out(edits, order, falling, alone, decision)
    if isinstance(edits, TextEdits):
        apart = dict.fromkeys(at for pair in zip_longest(order[:EXCHANGED], falling[:EXCHANGED]) for at in pair)
        changes += find_instead(edits, [at for at in apart if at is not None][:EXCHANGED], decision)[:LISTED]
    strongest = order[:STRONGEST]
    others = [at for at in able if at not in strongest]
    own, lot = beside_others(edits, strongest, others, seed=seed) if strongest else (np.nan, np.nan)
    return Tried(
        changes,
        [_text_of(edits, change) for change in changes],
        [alone.get(at) for at in range(len(relevance))],
        largest,
        strongest,
        own,
        lot,
    )


def _taken_out(
    edits: Edits,
    order: Sequence[int],
    falling: Sequence[int],
    alone: Mapping[int, Answer | None],
    decision: int,
) -> tuple[list[Change], Change | None]:
    """Words without which the decision is another one: single ones, or else several, along the explanation or, if that
    finds none, by how much each matters alone; and the largest part of the explanation that was taken out.
    """
    single = [Change(frozenset([at]), "", answer) for at in falling if flips(answer := alone[at], decision) and answer]
    if single:
        return single[:LISTED], None
    several, largest = find_without(edits, order, decision)
    if several is None:
        several, _ = find_without(edits, falling, decision)
    return ([] if several is None else [several]), largest


def _able(edits: Edits, words: xr.Dataset) -> list[int]:
    """Words that have a place in the text, or patches."""
    if isinstance(edits, ImageEdits):
        return np.flatnonzero(words.row.values >= 0).tolist()
    return [
        at for at, part in enumerate(edits.parts) if part.stop > part.start >= 0 and not bool(words.special.values[at])
    ]


def _text_of(edits: Edits, change: Change) -> str:
    if isinstance(edits, ImageEdits):
        return ""
    (at, *_) = change.gone
    return "\n".join(edits.instead(at, change.word) if change.word else edits.without(change.gone))


# The Dataset


def _told(
    words: xr.Dataset, why: xr.Dataset, compared: xr.Dataset, tried: Tried, methods: Sequence[Method]
) -> xr.Dataset:
    count = words.sizes[TOKEN_AXIS]
    changes = tried.changes
    second = compared.relevance.transpose("side", TOKEN_AXIS).values[1]
    pair = compared["agreement_mean"].isel(side=0, against=1)
    variables: dict[str, Any] = {
        "relevance": (TOKEN_AXIS, words.relevance.values),
        "second": (TOKEN_AXIS, second.astype(words.relevance.dtype)),
        "alone": (TOKEN_AXIS, np.array([np.nan if one is None else one.before for one in tried.alone])),
        "probability_after": ("change", np.array([change.answer.probability for change in changes])),
        "probability_left": ("change", np.array([change.answer.before for change in changes])),
        **{name: ((), float(pair.sel(measure=name))) for name in ("spearman", "overlap")},
        "chance": ((), float(compared["chance"].values[0])),
        "largest_gap": ((), largest_gap(why)),
        "without_all": ((), np.nan if tried.largest is None else tried.largest.answer.before),
        "without_strongest": ((), tried.strongest_gone),
        "without_others": ((), tried.others_gone),
        **{name: words[name].variable for name in ("probability", "image") if name in words},
    }
    if not changes:
        del variables["probability_after"], variables["probability_left"]
    labels = {name: value.variable for name, value in words.coords.items() if value.dims in ((TOKEN_AXIS,), ("class",))}
    token = labels.pop(TOKEN_AXIS)
    gone = np.array([[at in change.gone for at in range(count)] for change in changes], dtype=bool)
    found = xr.Dataset(variables, labels).assign_coords(xr.Coordinates({TOKEN_AXIS: token}, indexes={}))
    if changes:
        found = found.assign_coords(
            change=np.arange(len(changes)),
            gone=(("change", TOKEN_AXIS), gone),
            new_word=("change", np.array([change.word for change in changes], dtype=np.str_)),
            new_text=("change", np.array(tried.texts, dtype=np.str_)),
            new_decision=("change", np.array([change.answer.decision for change in changes], dtype=np.str_)),
        )
    strongest = np.isin(np.arange(count), tried.strongest)
    all_gone = np.isin(np.arange(count), [] if tried.largest is None else list(tried.largest.gone))
    kept = {name: why.attrs[name] for name in KEPT if name in why.attrs}
    return found.assign_coords(strongest=(TOKEN_AXIS, strongest), all_gone=(TOKEN_AXIS, all_gone)).assign_attrs(
        **kept,
        kind=REPORT.kind,
        second_method=methods[1].name,
        settled=int(all(each.kept for each in certificates(why))),
        certified=int(bool(certificates(why))),
        request=json.dumps({"method": methods[0].name, **methods[0].values(), "second": methods[1].name}),
    )


KEPT = (
    "lignite_version", "model", "revision", "text", "versions", "target", "method", "prediction", "value", "tol",
    "merged_words",
)  # fmt: skip
