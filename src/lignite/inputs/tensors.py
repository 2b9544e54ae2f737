"""Ready ids become what a model reads, row by row, exactly as they are given."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int, Shaped
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lignite.errors import InputError
from lignite.inputs.labels import Reading, join_texts, label_reading, number_in_a_row
from lignite.inputs.limits import are_whole, check_length, check_tables, check_vocabulary
from lignite.inputs.tokens import Encoded, Span, Tokens, on_device, wordless
from lignite.models.load import Model


def encode_ids(model: Model, tensors: dict[str, Tensor], notes: Sequence[Any]) -> list[Encoded]:
    """Encode ready ids, a row per text, exactly as given: the model counts positions and hides tokens by itself.

    `notes` are a fast tokenizer's, one per row, or None.
    """
    ids = tensors["input_ids"]
    if ids.ndim == 3:
        raise InputError(
            f"input_ids of shape {tuple(ids.shape)} hold several texts per example, as multiple choice reads them; "
            "lignite explains one text at a time: use a model whose forward scores one, [row, token]."
        )
    if ids.ndim != 2 or ids.shape[1] == 0 or not are_whole(ids):
        raise InputError(f"input_ids of shape {tuple(ids.shape)} and {ids.dtype}: give whole numbers [row, token].")
    tensors = {name: _whole(tensor) for name, tensor in tensors.items()}
    if "attention_mask" in tensors:
        tensors["attention_mask"] = _read_mask(tensors["attention_mask"], ids)
    check_length(model, ids.shape[1])
    check_vocabulary(model, ids)
    check_tables(model, tensors)
    rows = [{name: tensor[row : row + 1] for name, tensor in tensors.items()} for row in range(len(ids))]
    return [
        Encoded(on_device(model, row), _label_row(model.tokenizer, row, note))
        for row, note in zip(rows, notes, strict=True)
    ]


def _whole(tensor: Shaped[Tensor, "..."]) -> Tensor:
    """Put whole numbers in the one size that every table and comparison takes; flags and decimals stay as they are."""
    return tensor.long() if are_whole(tensor) else tensor


def _read_mask(mask: Shaped[Tensor, "..."], ids: Int[Tensor, "row token"]) -> Int[Tensor, "row token"]:
    """Read one number per token, 1 to read and 0 to ignore; what holds anything else is no mask that lignite knows."""
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


def _label_row(tokenizer: PreTrainedTokenizerBase | None, row: Mapping[str, Tensor], note: Any) -> Tokens:
    ids = row["input_ids"][0].tolist()
    mask = row.get("attention_mask")
    padding = [False] * len(ids) if mask is None else _padding(mask[0].tolist())
    if tokenizer is None:
        return wordless([str(token) for token in ids], special=tuple(padding), padding=tuple(padding))
    if note is None or note.ids != ids:  # the ids were changed after tokenization
        return label_reading(tokenizer, Reading(ids, padding, [0] * len(ids)), padding)
    segment = [-1 if number is None else number for number in note.sequence_ids]
    added = [bool(flag) for flag in note.special_tokens_mask]
    if _was_split(note):
        ready = number_in_a_row(note.word_ids, segment)
        return label_reading(tokenizer, Reading(ids, added, segment, words=ready), padding)
    _, spans = join_texts(_blank_texts(note.offsets, segment), note.offsets, segment)
    return label_reading(tokenizer, Reading(ids, added, segment, spans), padding, place_known=False)


def _padding(mask: Sequence[int]) -> list[bool]:
    """Flag what is masked out at either end; a token hidden between others is still one: its own state may be read."""
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
    """Make blank texts as long as the offsets reach, for one that nobody has kept."""
    first, second = (
        max((stop for (_, stop), of in zip(offsets, segment, strict=True) if of == number), default=0)
        for number in (0, 1)
    )
    return " " * first, " " * second
