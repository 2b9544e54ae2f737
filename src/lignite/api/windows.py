"""A text that is too long is explained in overlapping windows, whose explanations are put together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from lignite.calls import check_count
from lignite.errors import InputError, OptionError
from lignite.inputs.labels import number_words
from lignite.inputs.tokens import Tokens
from lignite.methods import Method
from lignite.methods.scoring.rows import explain_all
from lignite.models.load import Model
from lignite.results.build import build_explanation
from lignite.results.classes import join_classes
from lignite.results.schema import EXPLAIN, PICTURE, TOKEN_AXIS
from lignite.targets.ask import ask
from lignite.targets.classes import Targets, ask_classes, name_class
from lignite.targets.objective import Wanted, chances
from lignite.targets.rows import Row


@dataclass(frozen=True)
class Window:
    """``text[start:stop]`` of the whole text."""

    text: str
    start: int
    stop: int


def cut(model: Model, text: str, size: int, overlap: int | None) -> list[Window]:
    """Cut a text into windows of at most `size` tokens, special ones included, that begin and end between words.

    Neighbours share at least `overlap` tokens where words allow it, a quarter of a window by default.

    Raises
    ------
    OptionError
        If the model cannot read such windows, or its tokenizer does not say where its tokens stand in the text.
    """
    tokenizer = model.tokenizer
    if tokenizer is None or not tokenizer.is_fast:
        raise OptionError("window= needs a fast tokenizer, which knows where its tokens stand in the text.")
    if model.max_length is not None and size > model.max_length:
        raise OptionError(f"window={size} is more than {model.name} can read: at most {model.max_length} tokens.")
    room = size - tokenizer.num_special_tokens_to_add()
    shared = room // 4 if overlap is None else overlap
    if room - shared < 1:
        raise OptionError(f"window={size} leaves no room for {shared} shared tokens and new ones; make it larger.")
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)
    offsets, words = encoding["offset_mapping"], encoding.word_ids()
    if len(offsets) <= room:
        return [Window(text, 0, len(text))]
    windows = []
    first = 0
    while True:
        last = min(first + room, len(offsets))
        end = last if last == len(offsets) else _word_start(words, last, above=first)
        start_at = 0 if first == 0 else offsets[first - 1][1]  # with the white space before: some tokens begin with it
        stop_at = len(text) if end == len(offsets) else offsets[end - 1][1]
        windows.append(Window(text[start_at:stop_at], start_at, stop_at))
        if end == len(offsets):
            return windows
        first = _word_start(words, max(end - shared, first + 1), above=first)


def _word_start(words: Sequence[int | None], place: int, *, above: int) -> int:
    """Find the nearest place at or before `place` where a word starts; a word longer than a window is cut."""
    for candidate in range(place, above, -1):
        if words[candidate] is None or words[candidate] != words[candidate - 1]:
            return candidate
    return place


MOST_TOKENS = 10_000_000

UNJOINED = frozenset(
    name for name, dims in EXPLAIN.variables.items() if {"target", "source"} & set(dims) or name == PICTURE
)
"""Variables over pairs of tokens know no pair from two windows, and a text has no picture; all others are joined."""


def check_windows(window: int | None, overlap: int | None) -> tuple[int, int | None]:
    """Refuse sizes of windows that are none, and windows that share all they have."""
    if window is not None:
        check_count("window", window, MOST_TOKENS)
    if window is None or (overlap is not None and not 0 <= overlap < window):
        raise OptionError(f"overlap={overlap!r} must be at least 0 and smaller than window={window!r}.")
    return window, overlap


def explain_windows(
    model: Model,
    text: Any,
    target: Wanted,
    targets: Targets | None,
    method: Method,
    window: int,
    overlap: int | None,
    memory: int | float | str | None,
) -> xr.Dataset:
    """One explanation of a text, the one kind of input that can be cut, that is read in windows."""
    if not isinstance(text, str):
        raise InputError(f"window= cuts texts, got {type(text).__name__}: give a text or a list of texts.")
    detail = method.values().get("detail")
    if detail:
        raise OptionError(
            f"detail={', '.join(detail)} keeps scores of pairs of tokens, and two windows share no pair. Leave "
            "it out, or explain the part of the text that matters without window=."
        )
    windows = cut(model, text, window, overlap)
    groups = _ask(model, [window.text for window in windows], target, targets)
    results = explain_all(model, [row for group in groups for row in group], method, memory=memory)
    tokens, (first, *_) = [group[0].encoded.tokens.keep() for group in groups], groups
    found = [join(text, windows, results[at :: len(first)], tokens, row.objective.link) for at, row in enumerate(first)]
    joined = found[0] if targets is None else join_classes(found, list(map(name_class, first)))
    request = json.loads(joined.attrs["request"]) | {"window": window, "overlap": overlap}
    return joined.assign_attrs(request=json.dumps(request))


def _ask(model: Model, texts: Sequence[str], target: Wanted, targets: Targets | None) -> list[list[Row]]:
    """For each window its rows: of one class, or of several, the same in all, by their mean over the windows."""
    rows = ask(model, texts, target)
    kinds = {row.objective.kind for row in rows}
    if kinds - {"class", "function"}:
        raise OptionError(
            f"window= explains one answer for the whole text; {type(model.network).__name__} answers at a token of it. "
            "Give the part of the text that matters."
        )
    groups = [[row] for row in rows] if targets is None else ask_classes(model, texts, target, targets)
    chosen = [[row.objective.index for row in group] for group in groups]
    if all(numbers == chosen[0] for numbers in chosen):
        return groups
    logits = np.mean([row.choices.logit for row in rows if row.choices is not None], axis=0)  # windows differ in it
    numbers = np.argsort(-logits, kind="stable")[: len(groups[0])].tolist()
    if targets is None:
        return [[row] for row in ask(model, texts, numbers[0])]
    known = [{row.objective.index: row for row in group} for group in ask_classes(model, texts, target, "all")]
    return [[by_number[number] for number in numbers] for by_number in known]


def join(
    text: str, windows: Sequence[Window], results: Sequence[xr.Dataset], tokens: Sequence[Tokens], link: str
) -> xr.Dataset:
    """One explanation of the whole text; `link` makes probabilities of logits.

    What is explained is the mean of the windows' values: each window's scores count one n-th, so that a token that
    stands in two windows has the sum of what it does in both, and all scores add up to the mean displacement. Special
    tokens, of which each window has its own, are added up at the ends of the text.
    """
    n_characters = len(text)
    places = [_keys(known, window, n_characters) for window, known in zip(windows, tokens, strict=True)]
    order = sorted({key for keys in places for key in keys})
    index = {key: place for place, key in enumerate(order)}
    variables = _joined(results, places, index, link)
    first = results[0]
    attrs = dict(first.attrs)
    attrs |= {"text": text, "value": float(np.mean([one.attrs["value"] for one in results]))}
    if "logit" in variables and attrs["prediction"]:
        attrs["prediction"] = str(first["class"].values[int(np.argmax(variables["logit"]))])
    attrs["windows"] = json.dumps(
        [
            {"start": window.start, "stop": window.stop, "value": one.attrs["value"], "tokens": len(keys)}
            for window, one, keys in zip(windows, results, places, strict=True)
        ]
    )
    words = number_words(text)
    special = [key.start < 0 or key.start > n_characters for key in order]
    joined = Tokens(
        text=tuple(key.text for key in order),
        position=tuple(range(len(order))),
        word=tuple(
            -1 if own else next((word for word in words[key.start : key.stop] if word >= 0), -1)
            for key, own in zip(order, special, strict=True)
        ),
        special=tuple(special),
        start=tuple(-1 if own else key.start for key, own in zip(order, special, strict=True)),
        stop=tuple(-1 if own else key.stop for key, own in zip(order, special, strict=True)),
        padding=(False,) * len(order),
        input=text,
    )
    classes = [str(name) for name in first["class"].values] if "logit" in first else None
    return build_explanation(tokens=joined, variables=variables, classes=classes, attrs=attrs)


class _Key(NamedTuple):
    """What makes a token the same in two windows; in the order of the text."""

    start: int
    stop: int
    repetition: int  # several tokens may spell one character
    text: str


def _keys(known: Tokens, window: Window, n_characters: int) -> list[_Key]:
    """Special tokens stand before the text or after it, in the order they have in their window."""
    leading = next((place for place, special in enumerate(known.special) if not special), len(known))
    keys: list[_Key] = []
    for place, text in enumerate(known.text):
        if known.special[place]:
            key = _Key(
                -1 if place < leading else n_characters + 1, place - (0 if place < leading else len(known)), 0, text
            )
        else:
            start, stop = known.start[place] + window.start, known.stop[place] + window.start
            repetition = sum(other[:2] == (start, stop) for other in keys)
            key = _Key(start, stop, repetition, text)
        keys.append(key)
    return keys


def _joined(
    results: Sequence[xr.Dataset], places: Sequence[Sequence[_Key]], index: dict[_Key, int], link: str
) -> dict[str, np.ndarray]:
    """Every variable by its axes: along tokens each window counts one n-th, without them windows are averaged."""
    variables: dict[str, np.ndarray] = {}
    for name in map(str, results[0]):
        dims = EXPLAIN.variables[name]
        if TOKEN_AXIS in dims:
            variables[name] = _sum(name, results, places, index)
        elif name not in UNJOINED and not name.endswith("probability"):
            variables[name] = np.asarray(np.mean([one[name].transpose(*dims).values for one in results], axis=0))
    for before in ("", "start_"):
        if f"{before}logit" in variables:
            variables[f"{before}probability"] = chances(variables[f"{before}logit"], link)
    return variables


def _sum(
    name: str, results: Sequence[xr.Dataset], places: Sequence[Sequence[_Key]], index: dict[_Key, int]
) -> np.ndarray:
    """Along tokens; standard errors of windows, which are drawn apart, add up by their squares."""
    dims, squared = EXPLAIN.variables[name], name == "layer_ig_error"
    first = results[0][name].transpose(..., TOKEN_AXIS)
    total = np.zeros((*first.shape[:-1], len(index)), dtype=first.dtype)
    for one, keys in zip(results, places, strict=True):
        part = one[name].transpose(..., TOKEN_AXIS).values / len(results)
        total[..., [index[key] for key in keys]] += part**2 if squared else part  # no token stands twice in a window
    return np.moveaxis(np.sqrt(total) if squared else total, -1, dims.index(TOKEN_AXIS))
