"""Tokens that belong together made into one: the pieces of a word, the words of a phrase."""

import json
import operator
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from lignite.errors import OptionError
from lignite.results.schema import (
    TOKEN_AXIS,
    TOKEN_LABELS,
    label_name,
    layout_of,
    position_name,
    without_repeating_index,
)
from lignite.results.spelling import spell

WordKey = tuple[str, int, int]
Span = tuple[int, int]


def merge_words(dataset: xr.Dataset, reduce: str) -> xr.Dataset:
    """Make one token of the sub-words of a word, on all token axes."""
    groups = {axis: _grouped(_words(dataset, axis)) for axis in token_axes(dataset)}
    texts = {axis: spell(dataset, axis, list(members.values())) for axis, members in groups.items()}
    return _merge_axes(dataset, groups, texts, reduce).assign_attrs(merged_words=reduce)


def merge_spans(dataset: xr.Dataset, spans: Sequence[Sequence[int]], reduce: str) -> xr.Dataset:
    """Make one token of all tokens of a phrase, on all token axes; phrases are spans of characters of the text."""
    checked = _checked_spans(spans, str(dataset.attrs.get("text", "")))
    groups = {axis: _grouped(_span_keys(dataset, axis, checked)) for axis in token_axes(dataset)}
    _check_spans_hold_tokens(dataset, checked, groups)
    texts = {axis: _span_texts(dataset, axis, members) for axis, members in groups.items()}
    return _merge_axes(dataset, groups, texts, reduce).assign_attrs(merged_spans=json.dumps(checked))


def token_axes(dataset: xr.Dataset) -> list[str]:
    """Sources before targets, which take their positions from them."""
    return [axis for axis in reversed(layout_of(dataset).token_axes) if axis in dataset.dims]


def _grouped(keys: list[WordKey]) -> dict[WordKey, list[int]]:
    groups: dict[WordKey, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return groups


def _merge_axes(
    dataset: xr.Dataset, groups: dict[str, dict[WordKey, list[int]]], texts: dict[str, list[str]], reduce: str
) -> xr.Dataset:
    first_position: dict[WordKey, int] = {}
    for axis in (TOKEN_AXIS, "source"):
        for key, places in groups.get(axis, {}).items():
            first_position.setdefault(key, int(dataset[position_name(axis)].values[places[0]]))
    for axis, members in groups.items():
        how = "sum" if axis == "source" else reduce
        dataset = _merge_axis(dataset, axis, members, texts[axis], how, first_position)
    return dataset


def _merge_axis(
    dataset: xr.Dataset,
    axis: str,
    groups: dict[WordKey, list[int]],
    texts: list[str],
    reduce: str,
    first_position: dict[WordKey, int],
) -> xr.Dataset:
    merged = {
        name: _merge(variable, axis, list(groups.values()), reduce) for name, variable in dataset.data_vars.items()
    }
    firsts = [places[0] for places in groups.values()]
    own = dataset[position_name(axis)].values[firsts]
    coords: dict[str, tuple[str, np.ndarray]] = {
        # A word's place is where it starts among the sources, also if its first sub-word is no target.
        position_name(axis): (
            axis,
            np.asarray([first_position.get(key, int(position)) for key, position in zip(groups, own, strict=True)]),
        )
    }
    for label in TOKEN_LABELS:
        name = label_name(axis, label)
        if name in dataset.coords:
            coords[name] = (axis, dataset[name].values[firsts])
    coords[label_name(axis, "token")] = (axis, np.asarray(texts, dtype=np.str_))
    stops = dataset[label_name(axis, "stop")].values
    coords[label_name(axis, "stop")] = (axis, np.asarray([stops[places].max() for places in groups.values()]))
    kept = {name: coord for name, coord in dataset.coords.items() if axis not in coord.dims}
    return without_repeating_index(xr.Dataset(merged, {**kept, **coords}, dataset.attrs))


def _words(dataset: xr.Dataset, axis: str) -> list[WordKey]:
    """What tells words apart: segment and word number, or the position of a token that stays alone."""
    positions, words = dataset[position_name(axis)].values, dataset[label_name(axis, "word")].values
    special = dataset[label_name(axis, "special")].values
    name = label_name(axis, "segment")
    segments = dataset[name].values if name in dataset.coords else np.zeros_like(words)
    return [
        ("token", int(position), 0) if alone or word < 0 else ("word", int(segment), int(word))
        for position, word, alone, segment in zip(positions, words, special, segments, strict=True)
    ]


def _span_keys(dataset: xr.Dataset, axis: str, spans: Sequence[Span]) -> list[WordKey]:
    """The phrase that a token has most of its characters in, or the position of a token that is in none."""
    keys: list[WordKey] = []
    starts, stops = (dataset[label_name(axis, label)].values.tolist() for label in ("start", "stop"))
    for position, start, stop in zip(dataset[position_name(axis)].values.tolist(), starts, stops, strict=True):
        common = [min(stop, last) - max(start, first) for first, last in spans]
        inside = max(common, default=0) > 0  # never where nothing is known: from −1 to −1 there is nothing
        keys.append(("span", common.index(max(common)), 0) if inside else ("token", position, 0))
    return keys


def _checked_spans(spans: Sequence[Sequence[int]], text: str) -> list[Span]:
    """Sorted by their starts."""
    checked = []
    for span in spans:
        try:
            start, stop = map(operator.index, span)
        except (TypeError, ValueError):
            raise OptionError(f"{span!r} is no phrase: give its first character and the one after its last.") from None
        if not 0 <= start < stop <= len(text):
            raise OptionError(f"phrase ({start}, {stop}) is empty or outside the text of {len(text)} characters.")
        checked.append((start, stop))
    checked.sort()
    for first, second in pairwise(checked):
        if second[0] < first[1]:
            raise OptionError(f"phrases {first} and {second} overlap: a token counts once, so merge them separately.")
    return checked


def _check_spans_hold_tokens(
    dataset: xr.Dataset, spans: Sequence[Span], groups: dict[str, dict[WordKey, list[int]]]
) -> None:
    for number, span in enumerate(spans):
        members = {axis: found for axis, keys in groups.items() if (found := keys.get(("span", number, 0)))}
        words = str(dataset.attrs["text"])[slice(*span)]
        if not members:
            raise OptionError(f"phrase {span} ({words!r}) holds no token of this result: choose one that does.")
        for axis, places in members.items():
            segment = label_name(axis, "segment")
            if segment in dataset.coords and len(set(dataset[segment].values[places].tolist())) > 1:
                raise OptionError(f"phrase {span} ({words!r}) lies in both texts: end it where the first one ends.")


def _span_texts(dataset: xr.Dataset, axis: str, groups: dict[WordKey, list[int]]) -> list[str]:
    text = str(dataset.attrs.get("text", ""))
    pieces = dataset[label_name(axis, "token")].values.tolist()
    starts, stops = (dataset[label_name(axis, label)].values for label in ("start", "stop"))
    return [
        text[starts[places].min() : stops[places].max()] if kind == "span" else pieces[places[0]]
        for (kind, _, _), places in groups.items()
    ]


def _merge(variable: xr.DataArray, axis: str, groups: list[list[int]], reduce: str) -> xr.Variable:
    if axis not in variable.dims:
        return variable.variable
    number = variable.dims.index(axis)
    order = [place for places in groups for place in places]
    sizes = np.array([len(places) for places in groups])
    # No matrix product with zeros and ones: it would spread one NaN over every word.
    merged = np.add.reduceat(
        variable.values.take(order, axis=number), np.cumsum(sizes) - sizes, axis=number, dtype=np.float64
    )
    if reduce == "mean":
        merged /= sizes.reshape([-1 if place == number else 1 for place in range(merged.ndim)])
    return xr.Variable(variable.dims, merged.astype(variable.dtype), variable.attrs)
