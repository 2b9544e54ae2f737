"""Words of several results brought into common rows, so that nothing of any of them is cut.

Where the texts are the same, rows are the finest stretches of the text that no tokenizer cuts across; where they differ
in some words, the same words share a row, and a word that only one side has stands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
import xarray as xr

from lignite.errors import GridError
from lignite.results.schema import TOKEN_AXIS, label_name, require_same_grid
from lignite.results.spelling import spell

Places = tuple[int, ...]

LEAST_SHARED = 0.5
"""Texts are compared word by word if so large a part of the longer one's words is the same in both."""


@dataclass(frozen=True)
class Unit:
    """A word of one side: its tokens, what it reads, and where it stands in its text (−1: nowhere)."""

    places: Places
    written: str
    special: bool
    segment: int
    start: int
    stop: int


@dataclass
class AlignedRow:
    """What several sides have in common: of each its tokens, none where it has no such word."""

    places: list[Places]
    written: list[str]
    special: bool = False
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The word, or the words by which the sides differ; a dash stands for none."""
        different = list(dict.fromkeys(word or "–" for word in self.written))
        folded = {word.casefold() for word in different}
        return different[0] if len(folded) == 1 else " / ".join(different)


def align(sides: Sequence[xr.Dataset], *, axis: str = TOKEN_AXIS, tokens: bool = False) -> list[AlignedRow]:
    """Bring the tokens of several results into common rows, in the order of the first.

    Every token of every side is in exactly one row. With `tokens`, or where tokens are patches, rows are the tokens
    themselves.

    Raises
    ------
    GridError
        If there are no such rows: other patches, other tokens, too few common words.
    """
    if tokens or any(_row_name(side, axis) in side.coords for side in sides):
        return _align_tokens(sides, axis)
    units = [_units(side, axis) for side in sides]
    return _with_special(units, _align_words(sides, units, axis))


def _row_name(side: xr.Dataset, axis: str) -> str:
    return label_name(axis, "row")


def _align_tokens(sides: Sequence[xr.Dataset], axis: str) -> list[AlignedRow]:
    """Tokens as they are, which every side must have."""
    for side in sides[1:]:
        _require_same_tokens(sides[0], side, axis)
    units = [_units(side, axis, words=False) for side in sides]
    return [_row(row) for row in zip(*units, strict=True)]


def _require_same_tokens(first: xr.Dataset, other: xr.Dataset, axis: str) -> None:
    row = _row_name(first, axis)
    if (row in first.coords) != (row in other.coords):
        raise GridError("one result is of an image, the other of a text: compare results of one kind of input.")
    require_same_grid(first, other)
    for name in (label_name(axis, label) for label in ("row", "col")):
        if name in first.coords and not np.array_equal(first[name].values, other[name].values):
            raise GridError(f"the results have other patches ({name}): compare results of one size of image and patch.")


def _units(side: xr.Dataset, axis: str, *, words: bool = True) -> list[Unit]:
    """Words of one side, or its tokens, in their order."""
    numbers, special, starts, stops = (
        side[label_name(axis, label)].values.tolist() for label in ("word", "special", "start", "stop")
    )
    name = label_name(axis, "segment")
    segments = side[name].values.tolist() if name in side.coords else [0] * len(numbers)
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, number in enumerate(numbers):
        alone = special[place] or number < 0 or not words
        groups.setdefault((-1, place) if alone else (segments[place], number), []).append(place)
    text = str(side.attrs.get("text", ""))
    whole = name not in side.coords
    found = []
    for places, written in zip(groups.values(), spell(side, axis, list(groups.values())), strict=True):
        start, stop = min(starts[place] for place in places), max(stops[place] for place in places)
        if whole and 0 <= start < stop:  # byte-level tokens may count the space before them
            inside = text[start:stop]
            start, stop = start + len(inside) - len(inside.lstrip()), stop - len(inside) + len(inside.rstrip())
        first = places[0]
        found.append(Unit(tuple(places), written, bool(special[first]), segments[first], start, stop))
    return found


def _align_words(sides: Sequence[xr.Dataset], units: Sequence[Sequence[Unit]], axis: str) -> list[AlignedRow]:
    words = [[unit for unit in side if not unit.special] for side in units]
    if not all(words):
        raise GridError("a result has special tokens alone: there is no word to compare.")
    rows: list[AlignedRow] | None
    if len({str(side.attrs.get("text", "")) for side in sides}) == 1 and all(map(_placed, words)):
        rows = _by_place(words)
        if len(rows) == 1 < max(map(len, words)):
            raise GridError("no word ends at the same place of the text in all results: compare each by itself.")
        return rows
    rows = [_row([unit], len(sides)) for unit in words[0]]
    for number, side in enumerate(words[1:], start=1):
        rows = _joined(rows, side, number)
    return rows


def _placed(words: Sequence[Unit]) -> bool:
    """Whether it is known where in the text every word stands."""
    return all(unit.stop > unit.start >= 0 for unit in words) and all(
        one.segment != other.segment or one.start <= other.start for one, other in pairwise(words)
    )


def _by_place(words: Sequence[Sequence[Unit]]) -> list[AlignedRow]:
    """Stretches of the text that no word of any side reaches out of, as short as they can be."""
    spans = sorted(
        (unit.segment, unit.start, unit.stop, side, number)
        for side, units in enumerate(words)
        for number, unit in enumerate(units)
    )
    rows: list[list[list[Unit]]] = []
    end = (-2, 0)
    for segment, start, stop, side, number in spans:
        if (segment, start) >= end:
            rows.append([[] for _ in words])
        end = max(end, (segment, stop))
        rows[-1][side].append(words[side][number])
    return [_merged(row) for row in rows]


def _joined(rows: list[AlignedRow], side: Sequence[Unit], number: int) -> list[AlignedRow]:
    """The rows with one more side, whose words are matched with those that stand there."""
    keys = [next(word for word in row.written if word).casefold() for row in rows]
    own = [unit.written.casefold() for unit in side]
    matcher = SequenceMatcher(None, keys, own, autojunk=False)
    shared = sum(block.size for block in matcher.get_matching_blocks())
    if shared < LEAST_SHARED * max(len(keys), len(own)):
        raise GridError(
            f"the texts share {shared} of {max(len(keys), len(own))} words: compare texts that differ in a few words, "
            "or give several texts a side, each with its like."
        )
    joined: list[AlignedRow] = []
    for kind, first, last, start, stop in matcher.get_opcodes():
        if kind == "insert":
            joined += [_row([unit], len(rows[0].places), number) for unit in side[start:stop]]
        elif last - first == stop - start:
            for row, unit in zip(rows[first:last], side[start:stop], strict=True):
                joined.append(_add(row, [unit], number))
        elif kind == "delete":
            joined += rows[first:last]
        else:
            joined.append(_add(_one_of(rows[first:last]), side[start:stop], number))
    return joined


def _add(row: AlignedRow, units: Sequence[Unit], number: int) -> AlignedRow:
    row.places[number], row.written[number], row.spans[number] = _facts_of(units)
    return row


def _one_of(rows: Sequence[AlignedRow]) -> AlignedRow:
    """Neighbouring rows as one."""
    together = rows[0]
    for row in rows[1:]:
        together.places = [one + other for one, other in zip(together.places, row.places, strict=True)]
        together.written = [" ".join(filter(None, words)) for words in zip(together.written, row.written, strict=True)]
        together.spans = [_spanned(some) for some in zip(together.spans, row.spans, strict=True)]
    return together


def _row(units: Sequence[Unit], n_sides: int | None = None, number: int = 0) -> AlignedRow:
    """A unit of each side as a row; with `n_sides`, a single unit of side `number` among so many."""
    if n_sides is None:
        return _merged([[unit] for unit in units])
    return _merged([[units[0]] if side == number else [] for side in range(n_sides)])


def _merged(row: Sequence[Sequence[Unit]]) -> AlignedRow:
    places, written, spans = zip(*map(_facts_of, row), strict=True)
    special = all(unit.special for units in row for unit in units)
    return AlignedRow(list(places), list(written), special, list(spans))


def _facts_of(units: Sequence[Unit]) -> tuple[Places, str, tuple[int, int]]:
    """Tokens of neighbouring words, what they read, and from where to where they reach."""
    touching = [
        ("" if number == 0 or unit.start == units[number - 1].stop >= 0 else " ") + unit.written
        for number, unit in enumerate(units)
    ]
    places = tuple(place for unit in units for place in unit.places)
    return places, "".join(touching), _spanned([(unit.start, unit.stop) for unit in units])


def _spanned(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    known = [span for span in spans if span[1] > span[0] >= 0]
    return (min(span[0] for span in known), max(span[1] for span in known)) if known else (-1, -1)


def _with_special(units: Sequence[Sequence[Unit]], rows: list[AlignedRow]) -> list[AlignedRow]:
    """Special tokens one by one where all sides have the same; else those of a side together in a last row."""
    special = [[unit for unit in side if unit.special] for side in units]
    if not any(special):
        return rows
    if len({tuple(unit.written for unit in side) for side in special}) > 1:
        return [*rows, _merged(special)]
    found = list(rows)
    for alike in zip(*special, strict=True):
        place = alike[0].places[0]
        after = [number for number, row in enumerate(found) if row.places[0] and row.places[0][0] < place]
        found.insert(max(after, default=-1) + 1, _merged([[unit] for unit in alike]))
    return found
