"""Text, pairs of texts or ready tensors become what a model reads, and labels for its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from lignite.errors import InputError, warn
from lignite.inputs.pieces import Style, assemble, blank, find_style, readable, spelled
from lignite.inputs.words import number_words
from lignite.models.facts import forward_names, position_tables, vocabulary_size
from lignite.models.load import Model

Span = tuple[int, int]
NOWHERE: Span = (-1, -1)


@dataclass(frozen=True)
class Tokens:
    """What is known about each position of one model input, one entry per position.

    Attributes
    ----------
    text
        The token as its tokenizer writes it, marks of word starts included (`##`, `▁`, `Ġ`), bytes spelt out;
        `[CLS]`, `[REG1]` or `r0c3` (row 0, column 3) in images.
    position
        Place in the model's input.
    word
        Number of the word, counted over the whole text (:func:`~lignite.inputs.words.number_words`), -1 for none. A
        token that covers several words counts to the first.
    special
        Added by the tokenizer or the model, not part of the text; unknown and mask tokens stand for text.
    start, stop
        `input[start:stop]` is the token's text without white space around it; -1 where that is not known.
    segment
        For a pair of texts 0 or 1, -1 for special tokens.
    row, col
        For images the place of the patch, -1 for all other tokens.
    top, left, bottom, right
        The patch's pixels, `picture[top:bottom, left:right]` of the picture that the model sees.
    padding
        Masked out before or behind the text: the model ignores it. A token that is hidden inside the text is none.
    input
        The text; for a pair both texts joined by a line break; the name of an image's file; else empty.
    """

    text: tuple[str, ...]
    position: tuple[int, ...]
    word: tuple[int, ...]
    special: tuple[bool, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    padding: tuple[bool, ...]
    segment: tuple[int, ...] | None = None
    row: tuple[int, ...] | None = None
    col: tuple[int, ...] | None = None
    top: tuple[int, ...] | None = None
    left: tuple[int, ...] | None = None
    bottom: tuple[int, ...] | None = None
    right: tuple[int, ...] | None = None
    input: str = ""

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"labels of tokens differ in length ({lengths}): give one entry per token.")

    def __len__(self) -> int:
        return len(self.text)

    def keep(self) -> "Tokens":
        """Drop the padding; `position` still says where each token stood."""
        kept = [place for place, padding in enumerate(self.padding) if not padding]
        columns: dict[str, Any] = {name: tuple(values[i] for i in kept) for name, values in self.columns().items()}
        return replace(self, **columns)

    def box(self, place: int) -> tuple[slice, slice] | None:
        """The patch's pixels, ``picture[box]``; None for what is no patch."""
        if self.top is None or self.left is None or self.bottom is None or self.right is None or self.top[place] < 0:
            return None
        return slice(self.top[place], self.bottom[place]), slice(self.left[place], self.right[place])

    def columns(self) -> dict[str, tuple[Any, ...]]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "input"}
        return {name: column for name, column in values.items() if column is not None}


@dataclass(frozen=True, eq=False)
class Encoded:
    """One model input, a batch of one: the model's keyword arguments, and a label for each of its tokens.

    `image` is the picture that a model of images sees, where its colours are known.
    """

    tensors: dict[str, Tensor]
    tokens: Tokens
    image: UInt8[np.ndarray, "y x 3"] | None = None


@dataclass(frozen=True)
class _Reading:
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

    def take(self, places: Sequence[int]) -> "_Reading":
        def some(column: Any) -> Any:
            return column if column is None or isinstance(column, str) else [column[place] for place in places]

        return _Reading(**{field.name: some(getattr(self, field.name)) for field in fields(self)})


def encode_text(model: Model, texts: tuple[str, ...], *, complete: bool = False) -> Encoded:
    """One text or a pair of them; a `complete` one already holds its special tokens."""
    for text in texts:
        _check_text(text)
    return _encode(model, texts, complete=complete)


def encode_words(model: Model, texts: tuple[Sequence[str], ...]) -> Encoded:
    """One text or a pair of them, given as lists of words, which stay the words of the result."""
    for words in texts:
        for word in words:
            _check_text(word, "a word of the text")
    return _encode(model, tuple(list(words) for words in texts), complete=False)


def _encode(model: Model, texts: tuple[Any, ...], *, complete: bool) -> Encoded:
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise InputError(
            f"{model.name} has no tokenizer to read text with: name one, lignite.wrap(network, tokenizer), "
            "or give input_ids."
        )
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoding = tokenizer(
        *texts,
        is_split_into_words=not isinstance(texts[0], str),
        add_special_tokens=not complete,
        truncation=False,
        padding=False,
        verbose=False,  # the length is checked here, with an error
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
    )
    reading = (_read_fast if fast else _read_slow)(tokenizer, encoding, texts)
    if all(reading.added):
        shown = texts[0] if isinstance(texts[0], str) else " ".join(texts[0])
        raise InputError(
            f"the tokenizer of {model.name} finds no token in {shorten(shown)!r}: give a text it can read."
        )
    places = _without_repetition(tokenizer, reading)
    reading = reading.take(places)
    _check_length(model, len(places))
    _check_vocabulary(model, torch.tensor(reading.ids))
    tokens = _label(tokenizer, reading)
    accepted = forward_names(model.network)
    given = {
        name: torch.tensor([[values[place] for place in places]])
        for name, values in encoding.items()
        if accepted is None or name in accepted
    }
    return Encoded(
        on_device(model, _without_empty_types(model, given)),
        replace(tokens, segment=tokens.segment if len(texts) == 2 else None),
    )


def _read_fast(tokenizer: PreTrainedTokenizerBase, encoding: Any, texts: tuple[Any, ...]) -> _Reading:
    segment = [-1 if number is None else number for number in encoding.sequence_ids(0)]
    offsets, ready = encoding["offset_mapping"], None
    joined = tuple(text if isinstance(text, str) else " ".join(text) for text in texts)
    if not isinstance(texts[0], str):
        numbers = encoding.word_ids(0)
        offsets = _in_joined(offsets, numbers, segment, texts)
        ready = _in_a_row(numbers, segment)
    text, spans = _join(joined, offsets, segment)
    return _Reading(list(encoding["input_ids"]), _flags(encoding), segment, spans, ready, text)


def _read_slow(tokenizer: PreTrainedTokenizerBase, encoding: Any, texts: tuple[Any, ...]) -> _Reading:
    """A slow tokenizer tells neither texts nor words apart, but it reads them one after the other."""
    ids, added = list(encoding["input_ids"]), _flags(encoding)
    units = [(number, text) for number, text in enumerate(texts)]
    if not isinstance(texts[0], str):
        units = [(number, word) for number, words in enumerate(texts) for word in words]
    lengths = [len(tokenizer.tokenize(unit)) for _, unit in units]
    owner = iter([place for place, length in enumerate(lengths) for _ in range(length)])
    if not isinstance(texts[0], str) and sum(lengths) != added.count(False):
        raise InputError(
            f"{type(tokenizer).__name__} does not tell which tokens belong to which word: give the text itself."
        )
    owners = [-1 if flag else next(owner, len(units) - 1) for flag in added]
    segment = [-1 if place < 0 else units[place][0] for place in owners]
    joined = "\n".join(text if isinstance(text, str) else " ".join(text) for text in texts)
    return _Reading(ids, added, segment, words=None if isinstance(texts[0], str) else owners, text=joined)


def _flags(encoding: Any) -> list[bool]:
    return [bool(flag) for flag in encoding["special_tokens_mask"]]


def _in_joined(
    offsets: Sequence[Span], numbers: Sequence[int | None], segment: Sequence[int], texts: tuple[Sequence[str], ...]
) -> list[Span]:
    """Offsets inside each word become offsets in the text that the words make, joined by spaces."""
    starts = [[0, *accumulate(len(word) + 1 for word in words)] for words in texts]
    return [
        (start, stop) if number is None or of < 0 else (start + starts[of][number], stop + starts[of][number])
        for (start, stop), number, of in zip(offsets, numbers, segment, strict=True)
    ]


def _in_a_row(numbers: Sequence[int | None], segment: Sequence[int]) -> list[int]:
    """Word numbers counted over both texts of a pair; -1 for none."""
    first = max((n for n, of in zip(numbers, segment, strict=True) if n is not None and of == 0), default=-1)
    return [
        -1 if number is None or of < 0 else number + of * (first + 1)
        for number, of in zip(numbers, segment, strict=True)
    ]


def _without_repetition(tokenizer: PreTrainedTokenizerBase, reading: _Reading) -> list[int]:
    """Places of all tokens but those that the tokenizer has added to a text that already begins or ends with them.

    A prompt that a chat template wrote begins with its start token; tokenizers would set another one before it, an
    input that no model was trained on.
    """
    ids, added = reading.ids, reading.added
    places = list(range(len(ids)))
    if len(ids) < 2:
        return places
    gone = [
        place for place, other in ((0, 1), (len(ids) - 1, len(ids) - 2))
        if added[place] and not added[other] and ids[place] == ids[other]
    ]  # fmt: skip
    for place in gone:
        warn(
            f"the text already {'ends' if place else 'begins'} with {tokenizer.convert_ids_to_tokens(ids[place])!r}, "
            "which its tokenizer would add a second time; it is read once. To have it twice, give tensors."
        )
    return [place for place in places if place not in gone]


def _label(
    tokenizer: PreTrainedTokenizerBase, reading: _Reading, hidden: Sequence[bool] = (), *, place_known: bool = True
) -> Tokens:
    """Labels of what was read; `hidden` tokens are padding. Spans count in the user's text if `place_known`."""
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


def _check_text(text: str, what: str = "the text") -> None:
    if not text.strip():
        raise InputError(f"{what} is empty ({text!r}): give at least one word.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds half a character (a lone surrogate) at {error.start}: decode its file as UTF-8."
        ) from error


def _check_length(model: Model, length: int) -> None:
    limit = model.max_length
    if limit is not None and length > limit:
        raise InputError(
            f"the text has {length} tokens, but {model.name} reads at most {limit} (special tokens included): "
            "shorten or split it; lignite never cuts a text off."
        )


def _check_vocabulary(model: Model, ids: Tensor) -> None:
    size = vocabulary_size(model.network)
    if size is None:
        return
    outside = ids[(ids < 0) | (ids >= size)]
    if not len(outside):
        return
    number = int(outside[0])
    added = getattr(model.tokenizer, "added_tokens_decoder", {}).get(number)
    if added is not None:
        raise InputError(
            f"token {str(added)!r} ({number}) is outside the vocabulary of {model.name} (0 to {size - 1}): it was "
            "added to the tokenizer alone; make room in the model, network.resize_token_embeddings(len(tokenizer)), or "
            "leave it out of the text."
        )
    raise InputError(
        f"token id {number} is outside the vocabulary of {model.name} (0 to {size - 1}): "
        "use the tokenizer that belongs to the model."
    )


def role_id(model: Model, role: str) -> int | None:
    """Id of the tokenizer's ``"mask"`` or ``"pad"`` token; None if it has none or the model cannot read it."""
    number = getattr(model.tokenizer, f"{role}_token_id", None)
    size = vocabulary_size(model.network)
    return int(number) if number is not None and number >= 0 and (size is None or number < size) else None


def without_role(model: Model, role: str) -> str:
    """Why `role_id` is None, as the beginning of an error."""
    number = getattr(model.tokenizer, f"{role}_token_id", None)
    if number is None:
        return f"{model.name} has no {role} token to put in the place of words"
    token, size = getattr(model.tokenizer, f"{role}_token", ""), vocabulary_size(model.network) or 0
    return (
        f"{model.name} cannot read its tokenizer's {role} token {token!r}, id {number} outside the vocabulary, 0 to "
        f"{size - 1} (network.resize_token_embeddings(len(tokenizer)) makes room for it)"
    )


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
    """The role of a special token that is no visible sign, such as CANINE's code points for private use."""
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


def _join(texts: tuple[str, ...], offsets: Sequence[Span], segment: Sequence[int]) -> tuple[str, list[Span]]:
    """Join texts by a line break and move the offsets along."""
    shifts = (0, len(texts[0]) + 1)
    spans = [
        (start + shifts[number], stop + shifts[number]) if number >= 0 and stop > start else NOWHERE
        for (start, stop), number in zip(offsets, segment, strict=True)
    ]
    return "\n".join(texts), spans


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


def _without_empty_types(model: Model, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop token types that say nothing to a model without type embeddings: GPT-2 would look them up as words."""
    types = tensors.get("token_type_ids")
    if types is None or bool(types.any()) or hasattr(_text_config(model.network), "type_vocab_size"):
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name != "token_type_ids"}


def encode_ids(model: Model, tensors: dict[str, Tensor], notes: Sequence[Any]) -> list[Encoded]:
    """Ready ids, one row per text, exactly as they are given: the model counts positions and hides tokens by itself.

    `notes` are a fast tokenizer's, one per row, or None.
    """
    ids = tensors["input_ids"]
    if ids.ndim == 3:
        raise InputError(
            f"input_ids of shape {tuple(ids.shape)} hold several texts per example, as multiple choice reads them; "
            "lignite explains one text at a time: use a model whose forward scores one, [row, token]."
        )
    if ids.ndim != 2 or ids.shape[1] == 0 or not _are_whole(ids):
        raise InputError(f"input_ids of shape {tuple(ids.shape)} and {ids.dtype}: give whole numbers [row, token].")
    tensors = {name: _whole(tensor) for name, tensor in tensors.items()}
    if "attention_mask" in tensors:
        tensors["attention_mask"] = _read_mask(tensors["attention_mask"], ids)
    _check_length(model, ids.shape[1])
    _check_vocabulary(model, ids)
    _check_tables(model, tensors)
    rows = [{name: tensor[row : row + 1] for name, tensor in tensors.items()} for row in range(len(ids))]
    return [
        Encoded(on_device(model, row), _label_row(model.tokenizer, row, note))
        for row, note in zip(rows, notes, strict=True)
    ]


def _whole(tensor: Tensor) -> Tensor:
    """Whole numbers in the one size that every table and every comparison takes; flags and decimals as they are."""
    return tensor.long() if _are_whole(tensor) else tensor


def _are_whole(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _read_mask(mask: Tensor, ids: Tensor) -> Int[Tensor, "row token"]:
    """One number per token, 1 to read and 0 to ignore; what stands otherwise in it is no mask that lignite knows."""
    if mask.shape != ids.shape:
        raise InputError(
            f"attention_mask has shape {tuple(mask.shape)}, input_ids {tuple(ids.shape)}: give one number per token, "
            "[row, token]; masks of pairs of tokens belong to the model itself."
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            f"attention_mask holds {float(mask[(mask != 0) & (mask != 1)][0]):g}: give 1 for every token to read and 0 "
            "for those to ignore."
        )
    if not bool(mask.any(dim=1).all()):
        row = int((~mask.bool().any(dim=1)).nonzero()[0])
        raise InputError(f"attention_mask hides every token of row {row}: leave at least one to read.")
    return mask.long()


def _check_tables(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Numbers of segments and positions are looked up in tables, which fail in their own words."""
    tables = {"token_type_ids": _type_tables(model.network), "position_ids": position_tables(model.network)}
    for name, known in tables.items():
        numbers = tensors.get(name)
        if numbers is None:
            continue
        if not _are_whole(numbers):
            raise InputError(f"{name} of {numbers.dtype}: give whole numbers, one per token.")
        size = min((table.num_embeddings for table in known), default=None)
        if bool((numbers < 0).any()) or (size is not None and bool((numbers >= size).any())):
            reach = "at least 0" if size is None else f"0 to {size - 1}"
            raise InputError(
                f"{name} from {int(numbers.min())} to {int(numbers.max())} are not {reach}, which is what {model.name} "
                "reads: correct them or leave them out."
            )


def _label_row(tokenizer: PreTrainedTokenizerBase | None, row: Mapping[str, Tensor], note: Any) -> Tokens:
    ids = row["input_ids"][0].tolist()
    mask = row.get("attention_mask")
    padding = [False] * len(ids) if mask is None else _padding(mask[0].tolist())
    if tokenizer is None:
        return wordless([str(token) for token in ids], special=tuple(padding), padding=tuple(padding))
    if note is None or note.ids != ids:  # the ids were changed after tokenization
        return _label(tokenizer, _Reading(ids, padding, [0] * len(ids)), padding)
    segment = [-1 if number is None else number for number in note.sequence_ids]
    added = [bool(flag) for flag in note.special_tokens_mask]
    if _was_split(note):
        ready = _in_a_row(note.word_ids, segment)
        return _label(tokenizer, _Reading(ids, added, segment, words=ready), padding)
    _, spans = _join(_blank_texts(note.offsets, segment), note.offsets, segment)
    return _label(tokenizer, _Reading(ids, added, segment, spans), padding, place_known=False)


def _padding(mask: Sequence[int]) -> list[bool]:
    """What is masked out at either end; a token hidden between others is still one, whose own state may be read."""
    first, last = mask.index(1), len(mask) - mask[::-1].index(1)
    return [not first <= place < last for place in range(len(mask))]


def _was_split(note: Any) -> bool:
    """Whether words were given one by one: then offsets begin anew in each of them."""
    reached: dict[int, tuple[int, int]] = {}
    for number, of, (start, stop) in zip(note.word_ids, note.sequence_ids, note.offsets, strict=True):
        if number is None or of is None or stop == start:
            continue
        before, end = reached.get(of, (number, 0))
        if number > before and start < end:
            return True
        reached[of] = (number, stop)
    return False


def _blank_texts(offsets: Sequence[Span], segment: Sequence[int]) -> tuple[str, str]:
    """Texts as long as the offsets reach, for one that nobody has kept."""
    first, second = (
        max((stop for (_, stop), of in zip(offsets, segment, strict=True) if of == number), default=0)
        for number in (0, 1)
    )
    return " " * first, " " * second


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


def _type_tables(network: PreTrainedModel) -> list[nn.Embedding]:
    return [
        module
        for name, module in network.named_modules()
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding)
    ]


def wordless(
    text: Sequence[str],
    *,
    special: tuple[bool, ...] | None = None,
    padding: tuple[bool, ...] | None = None,
    row: tuple[int, ...] | None = None,
    col: tuple[int, ...] | None = None,
) -> Tokens:
    """Labels without words or places in a text."""
    none, no = (-1,) * len(text), (False,) * len(text)
    return Tokens(
        text=tuple(text),
        position=tuple(range(len(text))),
        word=none,
        special=special or no,
        start=none,
        stop=none,
        padding=padding or no,
        row=row,
        col=col,
    )


def _text_config(network: PreTrainedModel) -> PreTrainedConfig:
    return network.config.get_text_config()


def on_device(model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move to the model; only decimals are cast, ids and masks stay whole numbers.

    Tensors made in inference mode are copied: autograd refuses to remember them.
    """
    network = model.network
    return {
        name: (tensor.clone() if tensor.is_inference() else tensor).to(
            network.device, network.dtype if tensor.is_floating_point() else tensor.dtype
        )
        for name, tensor in tensors.items()
    }


def shorten(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
