"""Text, pairs of texts or ready tensors become what a model reads, and labels for its tokens."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from lignite.errors import InputError
from lignite.models.pieces import Style, assemble, find_style, readable, spelled
from lignite.models.words import number_words

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
        Number of the word, counted over the whole text (:func:`~lignite.models.words.number_words`), -1 for none. A
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
        Masked out: the model ignores it.
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


@runtime_checkable
class Reader(Protocol):
    """What encoding asks of a model; :class:`lignite.models.loading.Model` offers it."""

    @property
    def network(self) -> PreTrainedModel: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None: ...
    @property
    def name(self) -> str: ...
    @property
    def max_length(self) -> int | None: ...


def encode_text(model: Reader, texts: tuple[str, ...]) -> Encoded:
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise InputError(
            f"{model.name} has no tokenizer to read text with: name one, lignite.wrap(network, tokenizer), "
            "or give input_ids."
        )
    for text in texts:
        _check_text(text)
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoding = tokenizer(
        *texts,
        truncation=False,
        padding=False,
        verbose=False,  # the length is checked here, with an error
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
    )
    ids: list[int] = list(encoding["input_ids"])
    added = [bool(flag) for flag in encoding["special_tokens_mask"]]
    if all(added):
        raise InputError(
            f"the tokenizer of {model.name} finds no token in {shorten(texts[0])!r}: give a text it can read."
        )
    _check_length(model, len(ids))
    _check_vocabulary(model, torch.tensor(ids))

    special = _special(tokenizer, ids, added)
    segment = _segments(tokenizer, encoding, texts, special)
    pieces, style = _pieces(tokenizer, ids)
    if fast:
        joined, spans = _join(texts, encoding["offset_mapping"], segment)
        word = _words(joined, spans, pieces)
        trimmed = [_trim(joined, span) for span in spans]
    else:
        assembled, places = assemble(_for_assembly(tokenizer, pieces, special), style)
        word = _words(assembled, places, pieces)
        joined, trimmed = "\n".join(texts), [NOWHERE] * len(ids)
    tokens = Tokens(
        text=tuple(pieces),
        position=tuple(range(len(ids))),
        word=tuple(word),
        special=tuple(special),
        start=tuple(start for start, _ in trimmed),
        stop=tuple(stop for _, stop in trimmed),
        padding=(False,) * len(ids),
        segment=tuple(segment) if len(texts) == 2 else None,
        input=joined,
    )
    accepted = forward_names(model.network)
    given = {name: torch.tensor([values]) for name, values in encoding.items() if accepted is None or name in accepted}
    return Encoded(on_device(model, _without_empty_types(model, given)), tokens)


def _check_text(text: str) -> None:
    if not text.strip():
        raise InputError(f"the text is empty ({text!r}): give at least one word.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds half a character (a lone surrogate) at {error.start}: decode its file as UTF-8."
        ) from error


def _check_length(model: Reader, length: int) -> None:
    limit = model.max_length
    if limit is not None and length > limit:
        raise InputError(
            f"the text has {length} tokens, but {model.name} reads at most {limit} (special tokens included): "
            "shorten or split it; lignite never cuts a text off."
        )


def _check_vocabulary(model: Reader, ids: Tensor) -> None:
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


def role_id(model: Reader, role: str) -> int | None:
    """Id of the tokenizer's ``"mask"`` or ``"pad"`` token; None if it has none or the model cannot read it."""
    number = getattr(model.tokenizer, f"{role}_token_id", None)
    size = vocabulary_size(model.network)
    return int(number) if number is not None and number >= 0 and (size is None or number < size) else None


def without_role(model: Reader, role: str) -> str:
    """Why `role_id` is None, as the beginning of an error."""
    number = getattr(model.tokenizer, f"{role}_token_id", None)
    if number is None:
        return f"{model.name} has no {role} token to put in the place of words"
    token, size = getattr(model.tokenizer, f"{role}_token", ""), vocabulary_size(model.network) or 0
    return (
        f"{model.name} cannot read its tokenizer's {role} token {token!r}, id {number} outside the vocabulary, 0 to "
        f"{size - 1} (network.resize_token_embeddings(len(tokenizer)) makes room for it)"
    )


def vocabulary_size(network: PreTrainedModel) -> int | None:
    """How many tokens the model can read; None where ids are not looked up in a table."""
    try:
        embeddings = network.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # byte and character models hash their ids instead
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None


def _special(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], added: Sequence[bool]) -> list[bool]:
    """Flag what the tokenizer added, and special tokens that somebody typed; [UNK] and [MASK] stand for text."""
    structural = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "cls", "sep", "pad")}
    stand_ins = {
        getattr(tokenizer, f"{role}_token_id", None) for role in ("unk", "mask")
    } - structural  # GPT-2: all one
    never_text = set(tokenizer.all_special_ids) - stand_ins
    return [flag or token in never_text for token, flag in zip(ids, added, strict=True)]


def _segments(
    tokenizer: PreTrainedTokenizerBase, encoding: Any, texts: tuple[str, ...], special: Sequence[bool]
) -> list[int]:
    """Which text each token comes from, -1 for none."""
    if getattr(tokenizer, "is_fast", False):
        sequences = encoding.sequence_ids(0)
        return [-1 if number is None else number for number in sequences]
    # a slow tokenizer does not tell, but it reads the texts one after the other
    first = len(tokenizer(texts[0], add_special_tokens=False, verbose=False)["input_ids"])
    segments, seen = [], 0
    for flag in special:
        segments.append(-1 if flag else int(seen >= first))
        seen += not flag
    return segments


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
            pieces.append(piece if token in added else readable(piece, style))
    return pieces, style


def _for_assembly(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], special: Sequence[bool]
) -> list[str | None]:
    """Leave out special tokens; what stands for unknown text becomes a letter, not brackets around one."""
    letters = ["x" if piece in tokenizer.all_special_tokens else piece for piece in pieces]
    return [None if out else letter for letter, out in zip(letters, special, strict=True)]


def _join(texts: tuple[str, ...], offsets: Sequence[Span], segment: Sequence[int]) -> tuple[str, list[Span]]:
    """Join texts by a line break and move the offsets along."""
    shifts = (0, len(texts[0]) + 1)
    spans = [
        (start + shifts[number], stop + shifts[number]) if number >= 0 and stop > start else NOWHERE
        for (start, stop), number in zip(offsets, segment, strict=True)
    ]
    return "\n".join(texts), spans


def _words(text: str, spans: Sequence[Span], pieces: Sequence[str]) -> list[int]:
    numbers = number_words(text)
    words = [
        next((number for number in numbers[slice(*span)] if number >= 0), -1) if span != NOWHERE else -1
        for span in spans
    ]
    for place in reversed(range(len(words) - 1)):
        # sentencepiece may write a word's start as a piece of its own: it belongs to the word
        lone = pieces[place] in ("▁", "Ġ") and words[place] < 0 and not pieces[place + 1].startswith(pieces[place])
        if lone and spans[place][1] in (spans[place + 1][0], -1):
            words[place] = words[place + 1]
    return words


def _trim(text: str, span: Span) -> Span:
    start, stop = span
    part = text[start:stop] if span != NOWHERE else ""
    if not part.strip():
        return span
    return start + len(part) - len(part.lstrip()), stop - len(part) + len(part.rstrip())


def _without_empty_types(model: Reader, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop token types that say nothing to a model without type embeddings: GPT-2 would look them up as words."""
    types = tensors.get("token_type_ids")
    if types is None or bool(types.any()) or hasattr(_text_config(model.network), "type_vocab_size"):
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name != "token_type_ids"}


def encode_ids(model: Reader, tensors: dict[str, Tensor], notes: Sequence[Any]) -> list[Encoded]:
    """Ready ids, one row per text, exactly as they are given: the model counts positions and hides tokens by itself.

    `notes` are a fast tokenizer's, one per row, or None.
    """
    ids = tensors["input_ids"]
    if ids.ndim != 2 or ids.shape[1] == 0 or ids.is_floating_point() or ids.dtype == torch.bool:
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
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.bool else tensor.long()


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


def _check_tables(model: Reader, tensors: Mapping[str, Tensor]) -> None:
    """Numbers of segments and positions are looked up in tables, which fail in their own words."""
    tables = {"token_type_ids": _type_tables(model.network), "position_ids": position_tables(model.network)}
    for name, known in tables.items():
        numbers = tensors.get(name)
        if numbers is None:
            continue
        if numbers.is_floating_point() or numbers.dtype == torch.bool:
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
    padding = [False] * len(ids) if mask is None else [not flag for flag in mask[0].tolist()]
    if tokenizer is None:
        return wordless([str(token) for token in ids], special=tuple(padding), padding=tuple(padding))
    if note is not None and note.ids != ids:
        note = None  # the ids were changed after tokenization
    special = _special(tokenizer, ids, padding if note is None else [bool(flag) for flag in note.special_tokens_mask])
    special = [flag or hidden for flag, hidden in zip(special, padding, strict=True)]
    pieces, style = _pieces(tokenizer, ids)
    sequences = [0] * len(ids) if note is None else [-1 if number is None else number for number in note.sequence_ids]
    visible = _for_assembly(tokenizer, pieces, special)
    text, spans = assemble(visible, style) if note is None else _retrace(visible, style, note.offsets, sequences)
    word = [-1 if flag else number for number, flag in zip(_words(text, spans, pieces), special, strict=True)]
    segment = tuple(-1 if flag else number for number, flag in zip(sequences, special, strict=True))
    return replace(
        wordless(pieces, special=tuple(special), padding=tuple(padding)),
        word=tuple(word),
        segment=segment if 1 in segment else None,
    )


def _retrace(
    pieces: Sequence[str | None], style: Style, offsets: Sequence[Span], sequences: Sequence[int]
) -> tuple[str, list[Span]]:
    """Write pieces back to where their tokenizer found them; what normalization changed in length becomes letters."""
    lengths = [
        max((stop for (_, stop), of in zip(offsets, sequences, strict=True) if of == number), default=0)
        for number in (0, 1)
    ]
    _, spans = _join((" " * lengths[0], " " * lengths[1]), offsets, sequences)
    text = [" "] * (sum(lengths) + 1)
    for piece, (start, stop) in zip(pieces, spans, strict=True):
        part = "" if piece is None else spelled(piece, style)
        letters = part.strip()
        if start >= 0 and letters:
            space = len(part) - len(part.lstrip())  # offsets may hold the space before the word
            start += min(space, max(0, stop - start - len(letters)))
            text[start:stop] = letters if len(letters) == stop - start else "x" * (stop - start)
    return "".join(text), spans


def position_tables(network: PreTrainedModel) -> list[nn.Embedding]:
    """Learned position embeddings; those with a padding index number their tokens from the next one on."""
    return [
        module
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]


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


def forward_names(network: PreTrainedModel) -> frozenset[str] | None:
    """Names of the inputs that a model's forward spells out; None where it takes anything."""
    parameters = inspect.signature(network.forward).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return frozenset(names) or None


def _text_config(network: PreTrainedModel) -> PreTrainedConfig:
    return network.config.get_text_config()


def on_device(model: Reader, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
