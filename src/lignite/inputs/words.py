"""Words of a text, character by character, the same for every tokenizer."""

import unicodedata

_HYPHENS_AND_APOSTROPHES = frozenset("'’ʼ-‐‑")
_STANDING_ALONE = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA LETTER")
_ZERO_WIDTH_JOINER = "\N{ZERO WIDTH JOINER}"
_INVISIBLE_SPACES = frozenset("\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}")


def number_words(text: str) -> list[int]:
    """Number the words of a text: one number per character, -1 for white space.

    A word is a run of letters, digits and their marks. Apostrophes and hyphens inside it belong to it, as does a
    full stop between two letters or two digits and a comma between two digits; all other punctuation stands apart,
    repetitions of one sign together. Chinese characters and hiragana, written without spaces, are words by
    themselves; Thai, Lao, Khmer and Burmese would need a dictionary and are cut at spaces alone.

    Examples
    --------
    >>> number_words("I don't.")
    [0, -1, 1, 1, 1, 1, 1, 2]
    """
    numbers: list[int] = []
    last = -1
    for position, character in enumerate(text):
        if _is_space(character):
            numbers.append(-1)
        elif position > 0 and numbers[-1] >= 0 and _continues(text, position):
            numbers.append(last)
        else:
            last += 1
            numbers.append(last)
    return numbers


def _continues(text: str, position: int) -> bool:
    """Whether the character belongs to the word of the (visible) one before it."""
    before, character = text[position - 1], text[position]
    if _is_mark(character) or before == _ZERO_WIDTH_JOINER:
        return True
    base = _base(text, position - 1)
    if _is_letter(character):
        return _is_letter(base) or (position > 1 and _connects(text, position - 1))
    return _connects(text, position) or (character == base and unicodedata.category(base)[0] != "L")


def _connects(text: str, position: int) -> bool:
    """Whether punctuation joins the letters or digits on both its sides into one word."""
    sign = text[position]
    if not 0 < position < len(text) - 1:
        return False
    before, after = _base(text, position - 1), text[position + 1]
    if not (_is_letter(before) and _is_letter(after)):
        return False
    if sign == ".":
        return before.isnumeric() == after.isnumeric()
    if sign == ",":
        return before.isnumeric() and after.isnumeric()
    return sign in _HYPHENS_AND_APOSTROPHES


def _base(text: str, position: int) -> str:
    """Return the character that carries the marks up to `position`: vowel signs, accents, skin tones."""
    while position > 0 and _is_mark(text[position]):
        position -= 1
    return text[position]


def _is_letter(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Lo" and unicodedata.name(character, "").startswith(_STANDING_ALONE):
        return False
    return category[0] in "LN" or category == "Pc"


def _is_mark(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "M" or (category == "Cf" and not _is_space(character)) or "🏻" <= character <= "🏿"


def _is_space(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cc" or character in _INVISIBLE_SPACES
