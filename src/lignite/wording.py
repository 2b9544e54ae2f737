"""How messages are worded: text from others made harmless, and the known name that comes closest to a wrong one."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

_HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control and format characters, halves of pairs, separators of lines and paragraphs: an escape sequence repaints a
terminal, a mark of direction turns the line around, and neither is seen."""

_HARMLESS = "\n\t\u200c\u200d"
"""Of these: line breaks and tabs, and the joiners that Persian words and emoji are written with."""

_UNUSUAL = re.compile(r"[^ -~\n\t]+")
"""Characters that are looked at one by one: a page of megabytes is ASCII but for its words."""


def harmless(text: str) -> str:
    r"""The text as it may be printed anywhere, whoever wrote it: what acts on a terminal is written out.

    Examples
    --------
    >>> harmless("\x1b]0;owned\x07 plain"), harmless("a\u202eb")
    ('\\x1b]0;owned\\x07 plain', 'a\\u202eb')
    """
    return _UNUSUAL.sub(lambda found: "".join(map(written_out, found[0])), text)


def written_out(character: str) -> str:
    """A character that acts instead of being seen, as its number; any other as it is."""
    if character in _HARMLESS or unicodedata.category(character) not in _HARMFUL:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def one_line(text: str) -> str:
    """The text without line breaks or characters that act on a terminal."""
    return harmless(" ".join(text.split()))


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


def quoted(value: object, length: int = 120) -> str:
    """What was given, as a message repeats it: never long, and never failing, whatever it is.

    Examples
    --------
    >>> quoted("ig"), quoted(10**5000), quoted(list(range(10)), 12)
    ("'ig'", 'int too large to show', '[0, 1,…8, 9]')
    """
    try:
        return shorten(repr(value), length)
    except Exception:  # whatever the writing of somebody else's object leads to
        return f"{type(value).__name__} too large to show"


def counted(count: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "word"), counted(1200, "word"), counted(2, "patch")
    ('1 word', '1,200 words', '2 patches')
    """
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('ch') else 's'}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Examples
    --------
    >>> listed(["method"]), listed(["method", "baseline", "target"])
    ('method', 'method, baseline and target')
    """
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def sides(shape: Iterable[int]) -> str:
    """The size of a picture, or of anything with sides.

    Examples
    --------
    >>> sides((64, 48))
    '64 × 48'
    """
    return " × ".join(map(str, shape))


def with_article(noun: str) -> str:
    """The noun behind its article.

    Examples
    --------
    >>> with_article("int"), with_article("list")
    ('an int', 'a list')
    """
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A question that names the known name closest to what was given, after a blank; empty where none is close.

    Examples
    --------
    >>> did_you_mean("basline", ("baseline", "path")), did_you_mean("x", ("baseline", "path"))
    (" Did you mean 'baseline'?", '')
    """
    folded = {str(name).casefold(): str(name) for name in known}
    near = difflib.get_close_matches(str(given)[:100].casefold(), folded, n=1)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""
