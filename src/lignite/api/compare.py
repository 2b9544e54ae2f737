"""Compare: results side by side, and where they differ."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from lignite.calls import check_choice, check_count, fitting, is_several, public
from lignite.errors import GridError, InputError, OptionError
from lignite.metrics.readings.alignment import AlignedRow, align
from lignite.metrics.readings.comparison import How, compare_explanations
from lignite.metrics.readings.flow_comparison import compare_flows
from lignite.metrics.readings.sides import differing, name_sides, settings_of, shared
from lignite.results.classes import each_class, is_of_classes
from lignite.results.io import open as open_result
from lignite.results.schema import CLASSES, EXPLAIN, FLOW, layout_of, validate
from lignite.version import VERSION

SAVED = (".nc", ".json")
WORDS_NAMED = 3
"""Texts are named by the words in which they differ, up to so many."""

Sides = list[list[xr.Dataset]]


@public
def compare(
    *results: Any,
    names: Sequence[str] | None = None,
    reference: str | int = 0,
    tokens: bool = False,
    scale: Literal["relevance", "share"] | None = None,
    k: int = 5,
    map: str = "whole",
    confidence: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Put explanations or flows side by side: in common rows, on one scale, with their differences and agreement.

    Parameters
    ----------
    results
        Two or more sides, each a Dataset, the name of a saved one, or a list or folder of them (a text each); or one
        list of single results. Of several settings asked about several texts, the settings are the sides; of one
        explanation of several classes, its classes.
    names
        What the sides are called; by default by what differs between their settings, or between their texts.
    reference
        The side from which the others are subtracted, by its name or number.
    tokens
        Compare tokens instead of words; all sides then need the same.
    scale
        ``"relevance"``, the unit of the scores, or ``"share"``, each divided by the sum of magnitudes of its side's
        words. By default the first where all scores add up to a number of one model.
    k
        How many of the strongest words are compared; of a text of fewer than `2 k` words, half of them.
    map
        Of flows: which map is compared; as shares of what a target receives.
    confidence, seed
        Of the bootstrap intervals over texts.

    Returns
    -------
    A Dataset as laid out in docs/results-layout.md, to be drawn, saved and opened like any result.

    Raises
    ------
    GridError
        If the results have no rows in common: other patches, other layers, texts of other words. Nothing is ever cut.
    InputError
        If fewer than two sides are given, or results of different kinds.

    Examples
    --------
    >>> import lignite
    >>> model = lignite.load("tiny-sentiment")
    >>> both = lignite.compare(*(lignite.explain(model, "A superb film.", method=name) for name in ("ig", "occlusion")))
    >>> both.side.values.tolist(), both.difference.dims
    (['ig', 'occlusion'], ('side', 'token'))
    """
    check_count("k", k)
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r} must be a number between 0 and 1, such as 0.95.")
    sides, stems = _read(results)
    examples = _examples(sides)
    kind = _kind(examples)
    different, spare = differing(examples), [stems, [str(number) for number in range(1, len(sides) + 1)]]
    rows = _aligned(examples, kind, tokens)
    called = _named(names, len(sides)) if names else name_sides(different, [_by_words(rows, len(sides)), *spare])
    how = How(_number_of(reference, called), tokens, scale, k, confidence, seed)
    if kind == FLOW.kind:
        if scale is not None:
            raise OptionError(f"scale={scale!r}: flows are compared by shares; leave it out.")
        found = compare_flows(examples, called, rows, map, how)
    else:
        found = compare_explanations(examples, called, rows, how)
    return found.assign_attrs(
        lignite_version=VERSION,
        different=json.dumps({name: dict(zip(called, values, strict=True)) for name, values in different.items()}),
        shared=json.dumps(shared(examples)),
        **({"map": map} if kind == FLOW.kind else {}),
    )


def _read(results: Sequence[Any]) -> tuple[Sides, list[str]]:
    """The sides, each a list of results, and what their files are called."""
    given = _of_classes(results) or (list(results[0]) if len(results) == 1 and _is_list(results[0]) else list(results))
    sides, stems = [], []
    for one in given:
        sides.append(_side(one))
        stems.append(Path(one).stem if isinstance(one, str | PathLike) else "")
    if len(sides) > 1 and all(len(side) == 1 for side in sides) and (grouped := _by_settings(sides)):
        return grouped, [""] * len(grouped)
    if len(sides) < 2:
        raise InputError(f"{len(sides)} result{'s are' if not sides else ' is'} nothing to compare: give at least two.")
    return sides, stems


def _of_classes(results: Sequence[Any]) -> list[xr.Dataset]:
    """The classes of a single result of several, which are its sides."""
    if len(results) != 1:
        return []
    (one,) = [
        open_result(each) if isinstance(each, str | PathLike) and Path(each).is_file() else each for each in results
    ]
    return each_class([one]) if isinstance(one, xr.Dataset) and is_of_classes(one) else []


def _is_list(given: Any) -> bool:
    return is_several(given) and not isinstance(given, xr.Dataset | Mapping | Path)


def _side(given: Any) -> list[xr.Dataset]:
    if isinstance(given, str | PathLike):
        path = Path(given)
        if not path.is_dir():
            return [open_result(path)]
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SAVED)
        if not files:
            raise InputError(f"{path}: the folder holds no saved result ({', '.join(SAVED)}).")
        return [open_result(file) for file in files]
    if _is_list(given):
        found = [one for item in given for one in _side(item)]
        if not found:
            raise InputError("a side is empty: give at least one result of it.")
        return found
    validate(given)
    return [given]


def _by_settings(sides: Sides) -> Sides | None:
    """Sides of single results by their settings, where several settings were asked about the same several texts."""
    keys: dict[str, dict[str, xr.Dataset]] = {}
    for (one,) in sides:
        settings = settings_of(one)
        text = settings.pop("text")
        settings.pop("target", None)  # without one asked for, every text has its own
        texts = keys.setdefault(json.dumps(settings), {})
        if text in texts:
            return None
        texts[text] = one
    groups = list(keys.values())
    if len(groups) < 2 or len(groups[0]) < 2 or any(group.keys() != groups[0].keys() for group in groups):
        return None
    return [[group[text] for text in groups[0]] for group in groups]


def _examples(sides: Sides) -> Sides:
    """Results of all sides, example by example: of the same texts, or else in the order in which they are given."""
    if len({len(side) for side in sides}) > 1:
        raise GridError(
            f"the sides have {', '.join(str(len(side)) for side in sides)} results: give every side one of each text."
        )
    texts = [[str(one.attrs.get("text", "")) for one in side] for side in sides]
    alike = all(len(set(some)) == len(some) and set(some) == set(texts[0]) for some in texts)
    order = [[some.index(text) for text in texts[0]] if alike else list(range(len(some))) for some in texts]
    return [[side[places[at]] for side, places in zip(sides, order, strict=True)] for at in range(len(texts[0]))]


def _kind(examples: Sides) -> str:
    kinds = {layout_of(side).noun: side.attrs["kind"] for sides in examples for side in sides}
    if len(kinds) > 1:
        raise GridError(f"{' and '.join(kinds)} have nothing in common: compare results of one kind.")
    ((noun, kind),) = kinds.items()
    if kind == CLASSES.kind:
        raise InputError(f"{noun} has classes to compare by itself; of several give one of by_class() each.")
    if kind not in (EXPLAIN.kind, FLOW.kind):
        raise InputError(f"{noun} is no result of its own: compare the results that it was made of.")
    return str(kind)


def _aligned(examples: Sides, kind: str, tokens: bool) -> list[list[AlignedRow]]:
    axis = "source" if kind == FLOW.kind else "token"
    found = []
    for number, sides in enumerate(examples, start=1):
        try:
            found.append(align(sides, axis=axis, tokens=tokens))
        except GridError as error:
            raise GridError(f"text {number}: {error}" if len(examples) > 1 else str(error)) from None
    return found


def _by_words(rows: Sequence[Sequence[AlignedRow]], count: int) -> list[str]:
    """Texts by the words that only they have; nothing where there are several texts, or more words than a name has."""
    if len(rows) > 1:
        return [""] * count
    apart = [row for row in rows[0] if not row.special and len({word.casefold() for word in row.written}) > 1]
    if not 0 < len(apart) <= WORDS_NAMED:
        return [""] * count
    written = [" … ".join(row.written[at] for row in apart if row.written[at]) for at in range(count)]
    missing = " … ".join(next(word for word in row.written if word) for row in apart)
    return [f"“{words}”" if words else f"without “{missing}”" for words in written]


def _named(names: Sequence[str], count: int) -> list[str]:
    called = [fitting("names", name, str) for name in names]
    if len(called) != count or len(set(called)) < count or not all(called):
        raise OptionError(f"names={called!r} must be {count} names, a different one for each side.")
    return called


def _number_of(reference: str | int, called: Sequence[str]) -> int:
    if isinstance(reference, str):
        check_choice("reference", reference, called)
        return list(called).index(reference)
    if not 0 <= reference < len(called):
        raise OptionError(f"reference={reference} is no side: give a number from 0 to {len(called) - 1}, or a name.")
    return reference
