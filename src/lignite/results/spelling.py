"""Tokens as they are read: the stretch of text that they stand for, or their pieces without a tokenizer's marks."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from lignite.results.schema import label_name, layout_of, without_repeating_index

_BYTES = re.compile(r"(?:<0x[0-9A-F]{2}>)+")


def readable(dataset: xr.Dataset) -> xr.Dataset:
    """The same result, its tokens written as a reader knows them: `believ` for `##believ`, `é` for `<0xC3><0xA9>`."""
    axes = [axis for axis in layout_of(dataset).token_axes if axis in dataset.dims]
    spelt = {
        label_name(axis, "token"): (
            axis,
            np.asarray(spell(dataset, axis, [[place] for place in range(dataset.sizes[axis])]), dtype=np.str_),
        )
        for axis in axes
    }
    return without_repeating_index(dataset.assign_coords(spelt))


def in_order(starts: Sequence[int], stops: Sequence[int], length: int) -> bool:
    """Whether offsets speak of one text from its beginning to its end; those of pairs may start anew."""
    known = [(start, stop) for start, stop in zip(starts, stops, strict=True) if stop > start >= 0]
    ordered = all(first[0] <= second[0] for first, second in pairwise(known))
    return bool(known) and ordered and known[-1][1] <= length


def spell(dataset: xr.Dataset, axis: str, groups: Sequence[Sequence[int]]) -> list[str]:
    """What each group of tokens reads, from the text where its place there is known; special tokens stay as they are.

    Several tokens may share one character: a single one of them reads as its byte, ‹D8›.
    """
    pieces = [str(piece) for piece in dataset[label_name(axis, "token")].values]
    special, words, starts, stops = (
        dataset[label_name(axis, label)].values.tolist() for label in ("special", "word", "start", "stop")
    )
    text = str(dataset.attrs.get("text", ""))
    whole = label_name(axis, "segment") not in dataset.coords and in_order(starts, stops, len(text))
    spans = list(zip(starts, stops, strict=True))
    sharing = Counter(spans)
    found = []
    for places in groups:
        first = places[0]
        start, stop = min(starts[place] for place in places), max(stops[place] for place in places)
        if special[first]:
            found.append(pieces[first])
            continue
        shared = len(places) == 1 and sharing[spans[first]] > 1 and words[first] >= 0
        known = whole and 0 <= start < stop and not shared
        # byte-level tokens may count the space before them
        read = text[start:stop].strip() if known else ""
        found.append(read or _joined([pieces[place] for place in places]) or pieces[first])
    return found


def _joined(pieces: Sequence[str]) -> str:
    """Pieces in a row without the marks by which their tokenizer says that a word starts, goes on or ends."""
    bare = [piece.removesuffix("</w>") for piece in pieces]
    bare = [bare[0].lstrip("Ġ▁ "), *bare[1:]]
    joined = "".join(
        piece.removeprefix("##") if len(piece) > 2 or number else piece for number, piece in enumerate(bare)
    )
    return _BYTES.sub(lambda match: _decoded(bytes.fromhex(re.sub("<0x|>", "", match[0]))), joined)


def _decoded(spelt: bytes) -> str:
    """The characters that bytes make, if they make any, else the bytes: `C3 A9` is é."""
    try:
        return spelt.decode("utf-8")
    except UnicodeDecodeError:
        return f"‹{spelt.hex(' ').upper()}›"
