"""Texts longer than a model can read are cut into windows that overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lignite.errors import InputError, OptionError
from lignite.models.load import Model


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


def check_text(inputs: Any) -> str:
    """Take the one kind of input that can be cut, and refuse others."""
    if not isinstance(inputs, str):
        raise InputError(f"window= cuts texts, got {type(inputs).__name__}: give a text or a list of texts.")
    return inputs
