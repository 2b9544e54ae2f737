"""How tokens, texts and numbers are written in every view."""

import unicodedata
from pathlib import PurePath

import numpy as np

_CONTROL_PICTURES = {"\n": "↵", "\t": "⇥", "\r": "␍", " ": "␣"}


def visible_token(token: str) -> str:
    r"""A token in which nothing is invisible: blanks and control characters get a sign of their own.

    Blanks inside a token stay; a token of blanks alone, or one that starts or ends with a blank, shows them.

    Examples
    --------
    >>> visible_token(" the"), visible_token("a b"), visible_token("\x1b[2J"), visible_token("")
    ('␣the', 'a b', '\\x1b[2J', '∅')
    """
    if not token:
        return "∅"
    inner = token.strip(" ")
    leading = len(token) - len(token.lstrip(" "))
    trailing = len(token) - leading - len(inner)
    return "␣" * leading + "".join(_visible_character(character) for character in inner) + "␣" * trailing


def _visible_character(character: str) -> str:
    if character == " ":
        return character
    if character in _CONTROL_PICTURES:
        return _CONTROL_PICTURES[character]
    # A token is untrusted text: an escape sequence would repaint the terminal, a direction mark would turn the line.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\u200c\u200d":
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def one_line(text: str) -> str:
    """The text without line breaks or control characters."""
    return "".join(_visible_character(character) for character in " ".join(text.split()))


def shorten(text: str, length: int) -> str:
    """At most `length` characters, an ellipsis standing for what was cut from the middle.

    Examples
    --------
    >>> shorten("superb acting", 9), shorten("superb", 9)
    ('supe…ting', 'superb')
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return text[: length - 1 - tail] + "…" + (text[-tail:] if tail else "")


def model_title(name: str) -> str:
    """A model's name in a heading: of a local folder the last part.

    Examples
    --------
    >>> model_title("/home/me/models/sst-minilm"), model_title("google/bert"), model_title("tiny-sentiment")
    ('sst-minilm', 'google/bert', 'tiny-sentiment')
    """
    name = one_line(name)
    return PurePath(name).name if PurePath(name).is_absolute() else name


def format_score(value: float) -> str:
    """A signed number of three digits: the sign is always written, so that colour is never needed to read it.

    Examples
    --------
    >>> format_score(0.12345), format_score(-1234.5), format_score(0.0)
    ('+0.123', '-1.23e+03', '0')
    """
    if value == 0:
        return "0"
    return f"{value:+#.3g}".rstrip(".")


def format_share(value: float) -> str:
    """A share in per cent, or a dash where there was nothing to share.

    Examples
    --------
    >>> format_share(0.314), format_share(-0.021), format_share(float("nan")), format_share(0.00012)
    ('31.4 %', '-2.1 %', '–', '0.012 %')
    """
    if not np.isfinite(value):
        return "–"
    percent = 100 * value
    return f"{percent:.1f} %" if abs(percent) >= 0.1 or percent == 0 else f"{percent:.2g} %"
