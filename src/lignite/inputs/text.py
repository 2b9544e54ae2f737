"""Text, or a pair of texts, becomes what a model reads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lignite.errors import InputError, warn
from lignite.inputs.labels import Reading, join_texts, label_reading, number_in_a_row
from lignite.inputs.tokens import Encoded, Span, on_device
from lignite.models.facts import forward_names, has_token_types, tables_of, vocabulary_size
from lignite.models.load import Model
from lignite.wording import shorten


def check_text(text: str, what: str = "the text") -> None:
    if not text.strip():
        raise InputError(f"{what} is empty ({text!r}): give at least one word.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds half a character (a lone surrogate) at {error.start}: decode its file as UTF-8."
        ) from error


def check_length(model: Model, length: int) -> None:
    limit = model.max_length
    if limit is not None and length > limit:
        raise InputError(
            f"the text has {length} tokens, but {model.name} reads at most {limit} (special tokens included): "
            "shorten or split it, which explain does with window=…; lignite never cuts a text off."
        )


def check_vocabulary(model: Model, ids: Int[Tensor, "*any"]) -> None:
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


def check_tables(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Numbers of segments and positions are looked up in tables, which fail in their own words."""
    tables = {"token_type_ids": "token_type", "position_ids": "position"}
    for name, what in tables.items():
        numbers = tensors.get(name)
        if numbers is None:
            continue
        if not are_whole(numbers):
            raise InputError(f"{name} of {numbers.dtype}: give whole numbers, one per token.")
        size = min((table.num_embeddings for table in tables_of(model.network, what)), default=None)
        if bool((numbers < 0).any()) or (size is not None and bool((numbers >= size).any())):
            reach = "at least 0" if size is None else f"0 to {size - 1}"
            raise InputError(
                f"{name} from {int(numbers.min())} to {int(numbers.max())} are not {reach}, which is what {model.name} "
                "reads: correct them or leave them out."
            )


def are_whole(tensor: Shaped[Tensor, "..."]) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def encode_text(model: Model, texts: tuple[str, ...], *, complete: bool = False) -> Encoded:
    """Encode one text or a pair of them; a `complete` one already holds its special tokens."""
    for text in texts:
        check_text(text)
    return _encode(model, texts, complete=complete)


def encode_words(model: Model, texts: tuple[Sequence[str], ...]) -> Encoded:
    """Encode one text or a pair of them, given as lists of words, which stay the words of the result."""
    for words in texts:
        for word in words:
            check_text(word, "a word of the text")
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
            f"the tokenizer of {model.name} finds no token in {shorten(shown, 40)!r}: give a text it can read."
        )
    places = _without_repetition(tokenizer, reading)
    reading = reading.take(places)
    check_length(model, len(places))
    check_vocabulary(model, torch.tensor(reading.ids))
    tokens = label_reading(tokenizer, reading)
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


def _read_fast(tokenizer: PreTrainedTokenizerBase, encoding: Any, texts: tuple[Any, ...]) -> Reading:
    segment = [-1 if number is None else number for number in encoding.sequence_ids(0)]
    offsets, ready = encoding["offset_mapping"], None
    joined = tuple(text if isinstance(text, str) else " ".join(text) for text in texts)
    if not isinstance(texts[0], str):
        numbers = encoding.word_ids(0)
        offsets = _in_joined(offsets, numbers, segment, texts)
        ready = number_in_a_row(numbers, segment)
    text, spans = join_texts(joined, offsets, segment)
    return Reading(list(encoding["input_ids"]), _flags(encoding), segment, spans, ready, text)


def _read_slow(tokenizer: PreTrainedTokenizerBase, encoding: Any, texts: tuple[Any, ...]) -> Reading:
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
    return Reading(ids, added, segment, words=None if isinstance(texts[0], str) else owners, text=joined)


def _flags(encoding: Any) -> list[bool]:
    return [bool(flag) for flag in encoding["special_tokens_mask"]]


def _in_joined(
    offsets: Sequence[Span], numbers: Sequence[int | None], segment: Sequence[int], texts: tuple[Sequence[str], ...]
) -> list[Span]:
    """Turn offsets inside each word into offsets in the text that the words make, joined by spaces."""
    starts = [[0, *accumulate(len(word) + 1 for word in words)] for words in texts]
    return [
        (start, stop) if number is None or of < 0 else (start + starts[of][number], stop + starts[of][number])
        for (start, stop), number, of in zip(offsets, numbers, segment, strict=True)
    ]


def _without_repetition(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> list[int]:
    """List the places of all tokens but those that the tokenizer added to a text that already begins or ends with them.

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


def _without_empty_types(model: Model, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop token types that say nothing to a model without type embeddings: GPT-2 would look them up as words."""
    types = tensors.get("token_type_ids")
    if types is None or bool(types.any()) or has_token_types(model.config):
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name != "token_type_ids"}
