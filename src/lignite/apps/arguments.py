"""What is typed on the command line becomes what the library takes."""

import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

from lignite.errors import FileError, InputError, OptionError
from lignite.files import MOST_BYTES, expanded, is_folder, read_whole

PICTURED = ("tiny-digits",)
"""Bundled models of images, which have pictures of their own to show (`lignite.zoo.samples`)."""


def parse_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Numbers and ranges such as ``0,2-4,-1``; None stands for all.

    Examples
    --------
    >>> parse_numbers("layers", "0,2-4,-1"), parse_numbers("layers", "-3--1")
    ((0, 2, 3, 4, -1), (-3, -2, -1))
    """
    if text is None:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(-?\d{1,9})(?:-(-?\d{1,9}))?\s*", part)
        if found is None:
            raise OptionError(f"--{option} {text!r}: {part!r} is no number or range; write it like 0,2-4,-1.")
        first = int(found[1])
        last = int(found[2]) if found[2] else first
        if last < first or (first < 0 <= last):
            raise OptionError(
                f"--{option} {text!r}: the range {part.strip()!r} runs backwards; write the smaller first."
            )
        if last - first > 100_000:
            raise OptionError(f"--{option} {text!r}: the range {part.strip()!r} is longer than any input.")
        numbers.extend(range(first, last + 1))
    return tuple(dict.fromkeys(numbers))


def parse_targets(text: str | None) -> Literal["all"] | int | None:
    """``all``, or how many.

    Examples
    --------
    >>> parse_targets("all"), parse_targets("5"), parse_targets(None)
    ('all', 5, None)
    """
    if text is None or text == "all":
        return text  # type: ignore[return-value] # narrower than a type checker sees
    if not re.fullmatch(r"\d{1,9}", text):
        raise OptionError(f"--targets {text!r} is neither 'all' nor a number; --target names a single one.")
    return int(text)


def read_text() -> str:
    """All of standard input as one text, without the line break at its end."""
    text = _decode(_read_stdin(), "standard input").rstrip("\r\n")
    if not text.strip():
        raise InputError("standard input holds no text: give at least one word.")
    return text


def read_lines(file: str) -> list[str]:
    """Every line of a file that is not blank, or of standard input where the file is ``-``."""
    if file == "-":
        name, content = "standard input", _read_stdin()
    else:
        name, content = file, read_whole(file)
    lines = [line.rstrip("\r") for line in _decode(content, name).split("\n")]
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise InputError(f"{name} holds no text: write one text per line.")
    return texts


def _read_stdin() -> bytes:
    """Standard input to its end, if it has one."""
    try:
        content = sys.stdin.buffer.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileError(f"standard input cannot be read ({error.strerror or error}).") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"standard input does not end within {MOST_BYTES >> 20:,} MiB. Give it in parts.")
    return content


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 (byte {error.start}): convert it, for example with iconv.") from error


def read_inputs(text: str | None, pair: str | None, file: str | None, model: str) -> list[Any]:
    """What is to be explained: one input, or every line of a file."""
    if file is not None:
        if text is not None or pair is not None:
            raise OptionError("--file brings its own inputs; leave INPUT and --pair out.")
        return read_lines(file)
    if text is None and model in PICTURED:
        from lignite.zoo.samples import digit_scene

        return [digit_scene().image]
    if text is None and (sys.stdin is None or sys.stdin.isatty()):
        raise OptionError("there is no input: give one, name a --file, or pipe one in (see lignite flow --help).")
    if text is None or text == "-":
        text = read_text()
    return [text if pair is None else (text, pair)]


def count_results(inputs: Sequence[Any]) -> int:
    """How many results to expect at most: a folder stands for the images in it."""
    return sum(len(list(expanded(item).iterdir())) if is_folder(item) else 1 for item in inputs)
