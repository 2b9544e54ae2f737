"""Run a model on many inputs at once: rows of one batch get the numbers they would get alone."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from lignite.inputs.fills import role_id
from lignite.inputs.tokens import Encoded
from lignite.models.facts import (
    noted,
    padding_ids,
    read_widths,
    size_options,
    vocabulary_size,
    writes_words,
)
from lignite.models.hold import FOREIGN, at_rest, switches_undone
from lignite.models.load import Model
from lignite.models.outputs import tensors_of
from lignite.targets.objective import (
    Choices,
    Objective,
)

PADDED_TOLERANCE = 1e-4
"""Largest relative change of a logit by padding that still is rounding (float32 sums in another order)."""


_ELSEWHERE = ("decoder_", "pixel_", "entity_")
"""Inputs whose names begin so belong to another part of the input, however long they are."""


@dataclass(frozen=True, eq=False)
class Row:
    """One input, what is asked of it, and what the model says of it as it stands (None once it has been edited).

    `answer` is what the model said when it was asked what there is to explain: F, and choices beside it (`answered`).
    """

    encoded: Encoded
    objective: Objective
    choices: Choices | None = None
    answer: tuple[float, ...] | None = None

    @cached_property
    def n_tokens(self) -> int:
        return len(self.encoded.tokens)


def batches(model: Model, rows: Sequence[Row], max_tokens: float) -> Iterator[list[int]]:
    """Choose rows to run together, by place: similar lengths side by side, at most `max_tokens` with their padding."""
    order = sorted(range(len(rows)), key=lambda place: (rows[place].n_tokens, place))
    # A function of the output may average over tokens: it must never see padding.
    function = any(row.objective.function is not None for row in rows)
    mixed = len({row.n_tokens for row in rows}) > 1 and not function and can_pad(model, rows)
    batch: list[int] = []
    for place in order:
        length = rows[place].n_tokens
        alike = not batch or mixed or length == rows[batch[0]].n_tokens
        if batch and (not alike or (len(batch) + 1) * length > max_tokens or not _fit(rows[batch[0]], rows[place])):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _fit(one: Row, other: Row) -> bool:
    """Whether two rows have inputs of the same kind and shape, tokens apart."""
    first, second = one.encoded.tensors, other.encoded.tensors
    return first.keys() == second.keys() and all(
        tensor.shape == second[name].shape or (is_per_token(one.encoded, name) and is_per_token(other.encoded, name))
        for name, tensor in first.items()
    )


def same_questions(rows: Sequence[Row]) -> list[int]:
    """Find, for each row, the first that asks for the same logits of the same input: it may ask about another class."""
    known: dict[tuple[Any, ...], int] = {}
    found = []
    for number, row in enumerate(rows):
        asked = row.objective
        alone = number if asked.function is not None else None
        found.append(known.setdefault((id(row.encoded), asked.kind, asked.position, asked.part, alone), number))
    return found


def is_per_token(encoded: Encoded, name: str) -> bool:
    """Whether an input of the model has one entry for each token, told by its shape ``[1, token, …]``."""
    return not name.startswith(_ELSEWHERE) and encoded.tensors[name].shape[:2] == (1, len(encoded.tokens))


def can_pad(model: Model, rows: Sequence[Row]) -> bool:
    """Whether this model gives a row the same answer with padding beside it; found by trial, once per model."""
    if any("input_ids" not in row.encoded.tensors or "attention_mask" not in row.encoded.tensors for row in rows):
        return False
    return noted(model.network, "can pad", lambda: _same_when_padded(model, rows))


def _same_when_padded(model: Model, rows: Sequence[Row]) -> bool:
    """Whether the shortest row says the same beside the longest as alone, its padding left out."""
    shortest = min(rows, key=lambda row: row.n_tokens)
    longest = max(rows, key=lambda row: row.n_tokens)
    with at_rest(model.network), torch.no_grad():
        try:
            together = run(model.network, collate(model, [shortest, longest]))
        except FOREIGN:  # classifiers on decoders refuse batches when no padding token is defined
            return False
        alone = run(model.network, shortest.encoded.tensors)
    for tensor, both in zip(tensors_of(alone), tensors_of(together), strict=False):
        if tensor.shape[:1] != (1,):
            continue
        other = both[(slice(0, 1), *(slice(0, length) for length in tensor.shape[1:]))]
        if other.shape != tensor.shape:
            return False
        if not bool((tensor - other).abs().max() <= PADDED_TOLERANCE * tensor.abs().max()):
            return False
    return True


def collate(model: Model, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Make one batch of several rows; shorter ones are padded on the right and masked."""
    length = max(row.n_tokens for row in rows)
    first = rows[0].encoded.tensors
    if all(row.encoded.tensors["input_ids"].shape[1] == length for row in rows if "input_ids" in row.encoded.tensors):
        return {name: torch.cat([row.encoded.tensors[name] for row in rows]) for name in first}
    fills = {"input_ids": padding_id(model)}
    collated = {}
    for name in first:
        parts = [row.encoded.tensors[name] for row in rows]
        if all(is_per_token(row.encoded, name) for row in rows):
            parts = [lengthened(part, length, fills.get(name, 0)) for part in parts]
        collated[name] = torch.cat(parts)
    return collated


def lengthened(part: Shaped[Tensor, "1 token *any"], length: int, fill: int) -> Tensor:
    """Make an input of every token, with as many more on its right as make `length`."""
    return nn.functional.pad(part, (*[0, 0] * (part.ndim - 2), 0, length - part.shape[1]), value=fill)


def padding_id(model: Model) -> int:
    """Find the id of a token that the model can read and that stands for none, or else the vocabulary's first."""
    number = role_id(model, "pad")
    if number is not None:
        return number
    size = vocabulary_size(model.network)
    readable = (id for id in padding_ids(model.config) if id >= 0 and (size is None or id < size))
    return next(readable, 0)


def run(network: nn.Module, tensors: Mapping[str, Tensor], **options: Any) -> Any:
    """Run the model for its whole output, without caches, by name where it can be; use it inside `at_rest`.

    Options that the model's forward does not take are left out.
    """
    parameters = inspect.signature(network.forward).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    if "use_cache" in parameters:
        options["use_cache"] = False
    options |= {"return_dict": True}
    options = {name: value for name, value in options.items() if takes_any or name in parameters}
    options |= size_options(network, tensors)
    with switches_undone(network):
        return network(**tensors, **options)


def bytes_per_token(model: Model, *, gradient: bool, n_blocks: int | None = None) -> float:
    """Estimate the memory of a forward pass per token: of one layer at a time, or of all where gradients are kept.

    With `n_blocks` of so many below what stands above them all.
    """
    widths, size = read_widths(model.config), torch.finfo(model.dtype).bits // 8
    layers = n_blocks if n_blocks is not None else widths.layers if gradient else 1
    vocabulary = widths.vocabulary if writes_words(model.network) else 0
    return float(size * (layers * (12 * widths.states + 3 * widths.inner) + (3 if gradient else 2) * vocabulary))
