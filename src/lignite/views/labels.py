"""How tokens, texts and numbers are written in every view."""

from pathlib import PurePath

import numpy as np

from lignite.wording import one_line, written_out

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
    return " " if character == " " else _CONTROL_PICTURES.get(character, written_out(character))


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
