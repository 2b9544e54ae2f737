"""What a tokenizer has read becomes labels: pieces, words, and places in the text."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from transformers import PreTrainedTokenizerBase

from lignite.inputs.pieces import Style, assemble, blank, find_style, readable, spelled
from lignite.inputs.tokens import NOWHERE, Span, Tokens

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


@dataclass(frozen=True)
class Reading:
    """What a tokenizer made of an input, one entry per token.

    Attributes
    ----------
    ids, segment
        Numbers of the vocabulary; which text each comes from, -1 for none.
    added
        By the tokenizer, not part of a text.
    spans
        Places in `text`, or None where the tokenizer does not tell them.
    words
        Numbers of words that were given one by one, -1 for none, or None for a text.
    text
        What was read, as far as it is known.
    """

    ids: list[int]
    added: list[bool]
    segment: list[int]
    spans: list[Span] | None = None
    words: list[int] | None = None
    text: str = ""

    def take(self, places: Sequence[int]) -> "Reading":
        def some(column: Any) -> Any:
            return column if column is None or isinstance(column, str) else [column[place] for place in places]

        return Reading(**{field.name: some(getattr(self, field.name)) for field in fields(self)})


def label_reading(
    tokenizer: PreTrainedTokenizerBase, reading: Reading, hidden: Sequence[bool] = (), *, place_known: bool = True
) -> Tokens:
    """Label what was read; `hidden` tokens are padding. Spans count in the user's text if `place_known`."""
    hidden = hidden or (False,) * len(reading.ids)
    special = [flag or out for flag, out in zip(_special(tokenizer, reading.ids, reading.added), hidden, strict=True)]
    pieces, style = _pieces(tokenizer, reading.ids)
    visible = _for_assembly(tokenizer, pieces, special)
    text, spans = reading.text, reading.spans
    if spans is None:
        text, spans = assemble(visible, style)
        place_known = False
    elif not place_known:
        text, spans = _retrace(visible, style, spans)
    words = reading.words or _words(text, spans, pieces, [blank(piece, style) for piece in pieces])
    places = [_trim(text, span) if place_known else NOWHERE for span in spans]
    segment = [-1 if flag else number for number, flag in zip(reading.segment, special, strict=True)]
    return Tokens(
        text=tuple(pieces),
        position=tuple(range(len(pieces))),
        word=tuple(-1 if flag else word for word, flag in zip(words, special, strict=True)),
        special=tuple(special),
        start=tuple(start for start, _ in places),
        stop=tuple(stop for _, stop in places),
        padding=tuple(hidden),
        segment=tuple(segment) if 1 in segment else None,
        input=reading.text,
    )


def join_texts(texts: tuple[str, ...], offsets: Sequence[Span], segment: Sequence[int]) -> tuple[str, list[Span]]:
    """Join texts by a line break and move the offsets along."""
    shifts = (0, len(texts[0]) + 1)
    spans = [
        (start + shifts[number], stop + shifts[number]) if number >= 0 and stop > start else NOWHERE
        for (start, stop), number in zip(offsets, segment, strict=True)
    ]
    return "\n".join(texts), spans


def number_in_a_row(numbers: Sequence[int | None], segment: Sequence[int]) -> list[int]:
    """Count word numbers over both texts of a pair; -1 for none."""
    first = max((n for n, of in zip(numbers, segment, strict=True) if n is not None and of == 0), default=-1)
    return [
        -1 if number is None or of < 0 else number + of * (first + 1)
        for number, of in zip(numbers, segment, strict=True)
    ]


def _special(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], added: Sequence[bool]) -> list[bool]:
    """Flag what the tokenizer added, and special tokens that somebody typed; [UNK] and [MASK] stand for text."""
    structural = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "cls", "sep", "pad")}
    stand_ins = {
        getattr(tokenizer, f"{role}_token_id", None) for role in ("unk", "mask")
    } - structural  # GPT-2: all one
    never_text = set(tokenizer.all_special_ids) - stand_ins
    return [flag or token in never_text for token, flag in zip(ids, added, strict=True)]


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[list[str], Style]:
    raw = tokenizer.convert_ids_to_tokens(list(ids))
    added = tokenizer.added_tokens_decoder  # written as they are, not in the byte alphabet
    style = find_style(
        tokenizer, [piece for piece, token in zip(raw, ids, strict=True) if piece is not None and token not in added]
    )
    pieces = []
    for piece, token in zip(raw, ids, strict=True):
        if piece is None:  # models may have more embeddings than their tokenizer has words
            pieces.append(f"<{token}>")
        else:
            pieces.append(_printable(tokenizer, piece) if token in added else readable(piece, style))
    return pieces, style


def _printable(tokenizer: PreTrainedTokenizerBase, token: str) -> str:
    """Show the role of a special token that is no visible sign, such as CANINE's code points for private use."""
    roles = ("cls", "sep", "mask", "pad", "unk", "bos", "eos")
    named = next((role for role in roles if getattr(tokenizer, f"{role}_token", None) == token), None)
    return token if token.isprintable() or named is None else f"[{named.upper()}]"


def _for_assembly(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], special: Sequence[bool]
) -> list[str | None]:
    """Leave out special tokens; what stands for unknown text becomes a letter, not brackets around one."""
    signs = {*tokenizer.all_special_tokens, "[UNK]", "[MASK]"}  # the last two as `_printable` may write them
    letters = ["x" if piece in signs else piece for piece in pieces]
    return [None if out else letter for letter, out in zip(letters, special, strict=True)]


def _words(text: str, spans: Sequence[Span], pieces: Sequence[str], blanks: Sequence[bool]) -> list[int]:
    numbers = number_words(text)
    words = [
        next((number for number in numbers[slice(*span)] if number >= 0), -1) if span != NOWHERE else -1
        for span in spans
    ]
    for place in reversed(range(len(words) - 1)):
        # sentencepiece may write a word's start as a piece of its own: it belongs to the word
        lone = pieces[place] in ("▁", "Ġ") and words[place] < 0 and not pieces[place + 1].startswith(pieces[place])
        if (lone and spans[place][1] in (spans[place + 1][0], -1)) or (blanks[place] and words[place] < 0):
            words[place] = words[place + 1]  # the space before a word belongs to it where it is a token of its own
    for place in range(1, len(words)):
        if blanks[place] and words[place] < 0:
            words[place] = words[place - 1]
    return words


def _trim(text: str, span: Span) -> Span:
    start, stop = span
    part = text[start:stop] if span != NOWHERE else ""
    if not part.strip():
        return span
    return start + len(part) - len(part.lstrip()), stop - len(part) + len(part.rstrip())


def _retrace(pieces: Sequence[str | None], style: Style, spans: Sequence[Span]) -> tuple[str, list[Span]]:
    """Write pieces back to where their tokenizer found them; what normalization changed in length becomes letters."""
    assembled, own = assemble(pieces, style)
    text = [" "] * (max((stop for _, stop in spans), default=0) + 1)
    for place, (piece, (start, stop)) in enumerate(zip(pieces, spans, strict=True)):
        letters = assembled[slice(*own[place])] if own[place] != NOWHERE else ""
        if piece is not None and start >= 0 and letters:
            part = spelled(piece, style)
            space = len(part) - len(part.lstrip())  # offsets may hold the space before the word
            start += min(space, max(0, stop - start - len(letters)))
            text[start:stop] = letters if len(letters) == stop - start else "x" * (stop - start)
    return "".join(text), list(spans)
