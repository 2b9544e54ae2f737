"""What a person gives: a text, a pair of texts, a picture. What is too large is refused whole, and never cut."""

import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from lignite.errors import InputError
from lignite.inputs.pictures import ENDINGS, read_image
from lignite.wording import shorten

MOST_CHARACTERS = 20_000
"""Of all that is typed: about ten pages."""
MOST_BYTES = 10 * 2**20
"""Of a picture's file."""
MOST_TEXTS = 32
"""That are measured at once: somebody waits for them."""
MOST_PAIRS = 2**19
"""Of targets and sources in each layer of a flow: 724 tokens, all with all. Each pair has a score for every head."""


def check_size(text: str, most: int = MOST_CHARACTERS) -> str:
    """Refuse a text that nobody would wait for.

    Examples
    --------
    >>> check_size("A superb film.", most=5)
    Traceback (most recent call last):
    lignite.errors.InputError: the text has 14 characters, and the dashboard takes 5 at most: shorten it, or use Python.
    """
    if len(text) > most:
        raise InputError(
            f"the text has {len(text):,} characters, and the dashboard takes {most:,} at most: shorten it, or use "
            "Python."
        )
    return text


def as_input(text: str, second: str = "") -> str | tuple[str, str] | None:
    """A text, or a pair where there is a second; None where nothing was typed.

    Examples
    --------
    >>> as_input("Who came?", "She did."), as_input("Who came?"), as_input(" ")
    (('Who came?', 'She did.'), 'Who came?', None)
    """
    check_size(text + second)
    if not text.strip():
        return None
    return (text, second) if second.strip() else text


def read_picture(name: str, content: bytes) -> Image.Image:
    """The picture in an uploaded file, upright and in RGB.

    Raises
    ------
    InputError
        If it is too large, damaged, or no picture.
    """
    if len(content) > MOST_BYTES:
        raise InputError(
            f"{shorten(name, 80)} has {len(content) / 2**20:.1f} MB, and the dashboard takes {MOST_BYTES >> 20} MB at "
            "most: make the picture smaller."
        )
    ending = Path(name).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{shorten(name, 80)} is no picture by its name; use {', '.join(ENDINGS)}.")
    with tempfile.TemporaryDirectory(prefix="lignite-") as folder:
        path = Path(folder) / f"picture{ending}"
        path.write_bytes(content)
        try:
            return read_image(path).copy()
        except InputError as error:
            raise InputError(str(error).replace(str(path), shorten(name, 80))) from None


def as_texts(lines: str) -> list[str]:
    r"""Texts to measure on, one a line.

    Examples
    --------
    >>> as_texts("One film.\n\n  Another film. \n")
    ['One film.', 'Another film.']
    """
    texts = [line.strip() for line in check_size(lines).splitlines() if line.strip()]
    if len(texts) > MOST_TEXTS:
        raise InputError(
            f"there are {len(texts)} texts, and the dashboard measures {MOST_TEXTS} at most: leave some out, or use "
            "lignite evaluate."
        )
    if not texts:
        raise InputError("there is no text to measure on: write one text per line.")
    return texts


def check_pairs(n_targets: int, n_sources: int) -> None:
    """Refuse a flow that fills the memory of the machine for all who have the page open.

    Examples
    --------
    >>> check_pairs(2000, 2000)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lignite.errors.InputError: the flow among 2,000 tokens is larger than the dashboard computes: name at most 262 ...
    """
    if n_targets * n_sources > MOST_PAIRS:
        raise InputError(
            f"the flow among {n_sources:,} tokens is larger than the dashboard computes: name at most "
            f"{MOST_PAIRS // n_sources} target tokens (Targets), give a shorter input, or use lignite flow."
        )


def digest(given: Any) -> tuple[Any, ...]:
    """What tells two inputs apart, so that one that was explained is not explained again."""
    if isinstance(given, Image.Image):
        return given.size, given.tobytes()
    return (given,)
