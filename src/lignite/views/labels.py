"""How tokens, texts and numbers are written in every view."""

import re
from pathlib import PurePath

import numpy as np
from jaxtyping import Float

from lignite.wording import counted, one_line, shorten, written_out

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


NAMED = 60


def named_token(token: str) -> str:
    """A token in a list, a table or a sentence: visible, and never so long that it hides the others.

    Examples
    --------
    >>> named_token(" the"), len(named_token("x" * 5000))
    ('␣the', 60)
    """
    return shorten(visible_token(token[: 2 * NAMED] if len(token) > 2 * NAMED else token), NAMED)


def token_in_words(token: str) -> str:
    """A token inside a sentence: quoted where it has no letter or digit, or it would end the sentence.

    Examples
    --------
    >>> token_in_words("superb"), token_in_words(",")
    ('superb', '“,”')
    """
    named = named_token(token)
    return named if any(map(str.isalnum, named)) else f"“{named}”"


def _visible_character(character: str) -> str:
    return " " if character == " " else _CONTROL_PICTURES.get(character, written_out(character))


def model_title(name: str) -> str:
    """A model's name in a view: of a local folder the last part.

    Examples
    --------
    >>> model_title("/home/me/models/sst-minilm"), model_title("google/bert"), model_title("tiny-sentiment")
    ('sst-minilm', 'google/bert', 'tiny-sentiment')
    """
    name = one_line(name)
    return PurePath(name).name if PurePath(name).is_absolute() else without_folders(name)


_FOLDERS = re.compile(
    r"(?<![^\s=:,'\"(])(?:[A-Za-z]:[\\/]|~/|/)(?:[^\s/\\]+[\\/])+(?=[^\s/\\])|(?<![^\s=:,'\"(])~/(?=\w)"
)


def without_folders(text: str) -> str:
    """A line in which files and folders of this machine are named by their last part alone: a view is passed on.

    Examples
    --------
    >>> without_folders("lignite evaluate /home/me/data/a.jsonl --model ~/m/sst -o x.html")
    'lignite evaluate a.jsonl --model sst -o x.html'
    """
    return _FOLDERS.sub("", one_line(text))


def format_score(value: float) -> str:
    """A signed number of three digits: the sign is always written, so that colour is never needed to read it.

    Examples
    --------
    >>> format_score(0.12345), format_score(-1234.5), format_score(123456.0), format_score(0.0)
    ('+0.123', '-1234', '+1.23e+05', '0')
    """
    if value == 0:
        return "0"
    return f"{value:+.0f}" if 1000 <= abs(value) < 1e5 else f"{value:+#.3g}".rstrip(".")


def typeset(number: str) -> str:
    r"""A number as a page sets it: with a minus as long as a plus, and no sign of a computer's exponent.

    Examples
    --------
    >>> typeset("-0.926"), typeset("-1.23e-05"), typeset("+1.23e+05"), typeset("-2.1 %")
    ('−0.926', '−1.23e−5', '+1.23e5', '−2.1\xa0%')
    """
    return re.sub(r"e\+?(−?)0*(\d)", r"e\1\2", number.replace("-", "−")).replace(" %", "\N{NO-BREAK SPACE}%")


def with_minus(line: str) -> str:
    """A line as a page or a picture sets it: every minus before a number as long as a plus.

    Examples
    --------
    >>> with_minus("superb -0.926 [-1, 2], ca-lig 1e-05")
    'superb −0.926 [−1, 2], ca-lig 1e-05'
    """
    return re.sub(r"(?<![^\s\[(])-(?=\d)", "−", line)


def format_cell(value: float, limit: float) -> str:
    """A number in a coloured cell, set for a page and as fine as the colours, which end at `limit`.

    Examples
    --------
    >>> format_cell(0.3126, 0.64), format_cell(-0.004, 0.64), format_cell(12.3, 40.0), format_cell(float("nan"), 1.0)
    ('+0.31', '0', '+12', '–')
    """
    if not np.isfinite(value):
        return "–"
    if limit < 1e-4 or limit >= 1e5:
        return typeset(f"{value:+#.2g}") if value else "0"
    size = f"{abs(value):.{max(0, 1 - int(np.floor(np.log10(limit))))}f}"
    return f"{'−' if value < 0 else '+'}{size}" if float(size) else "0"


def format_share(value: float) -> str:
    """A share in per cent, or a dash where there was nothing to share.

    Examples
    --------
    >>> format_share(0.314), format_share(-0.021), format_share(float("nan")), format_share(0.00012)
    ('31.4 %', '-2.1 %', '–', '0.012 %')
    >>> format_share(0.0), format_share(7e-8)
    ('0 %', '<0.0001 %')
    """
    if not np.isfinite(value):
        return "–"
    percent = 100 * value
    if 0 < abs(percent) < 1e-4:
        return "<0.0001 %"
    return f"{percent:.1f} %" if abs(percent) >= 0.1 else f"{percent:.2g} %"


ROBUST, BEYOND = 0.95, 4.0


def limit_of(values: Float[np.ndarray, "..."]) -> float:
    """Where the colours of scores end, so that a single extreme one does not leave all others blank.

    That is the largest magnitude, but no more than `BEYOND` times the one below which `ROBUST` of them lie (of up to
    twenty, all but the largest); 1 where all are zero.

    Examples
    --------
    >>> limit_of(np.array([1.0, -2.0, 3.0])), limit_of(np.array([1.0, -2.0, 100.0])), limit_of(np.zeros(3))
    (3.0, 8.0, 1.0)
    """
    magnitude = np.abs(values[np.isfinite(values)])
    largest = float(magnitude.max(initial=0.0))
    common = float(np.quantile(magnitude, ROBUST, method="lower")) if magnitude.size > 1 else 0.0
    limit = min(largest, BEYOND * common) if common > 0 else largest
    return limit if limit > 0 else 1.0


def clipped_note(values: Float[np.ndarray, "..."], noun: str = "score") -> str:
    """What a legend says of scores that lie beyond its colours; empty where none does.

    Examples
    --------
    >>> clipped_note(np.array([1.0, -2.0, 100.0])), clipped_note(np.array([1.0]))
    ('1 score lies beyond', '')
    """
    count = int((np.abs(values[np.isfinite(values)]) > limit_of(values)).sum())
    return f"{counted(count, noun)} {'lies' if count == 1 else 'lie'} beyond" if count else ""


def labelled_note(step: int, noun: str = "token") -> str:
    """What an axis says of which it labels only some.

    Examples
    --------
    >>> labelled_note(2), labelled_note(1)
    ('1 token in 2 is labelled', '')
    """
    return f"1 {noun} in {step} is labelled" if step > 1 else ""
