"""Positions that a model counts from its padding token are handed to it, so that editing one word moves no other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from transformers import PreTrainedModel

from lignite.inputs.tokens import Encoded
from lignite.models.facts import forward_names, padding_ids, vocabulary_size
from lignite.models.hold import Captured, at_rest, before_each, modules_of
from lignite.models.notes import notes_on


def with_positions(network: PreTrainedModel, encoded: Encoded) -> Encoded:
    """Give the same input with its own positions, where the model would count them anew after every edit.

    RoBERTa and its kin number the tokens that are no padding: a word that becomes the padding token takes its number
    from all that follow. Which models do so is tried out, once per model.
    """
    tensors = encoded.tensors
    takes = forward_names(network) or frozenset()
    if "input_ids" not in tensors or "position_ids" in tensors or "position_ids" not in takes:
        return encoded
    with at_rest(network), torch.no_grad():
        notes = notes_on(network)
        if "table of counted positions" not in notes:
            notes["table of counted positions"] = _find_table(network, tensors)
        table = notes["table of counted positions"]
        if table is None:
            return encoded
        return replace(encoded, tensors={**tensors, "position_ids": looked_up(network, tensors)[table]})


def _find_table(network: PreTrainedModel, tensors: Mapping[str, Tensor]) -> nn.Module | None:
    """Find the table whose numbers change when a word becomes the padding token, beside that of the words."""
    ids = tensors["input_ids"]
    if len(_tables(network)) < 2:
        return None
    usual = looked_up(network, tensors)
    for number in _paddings(network):
        edited = ids.clone()
        edited[:, : (ids.shape[1] + 1) // 2] = number
        moved = looked_up(network, {**tensors, "input_ids": edited})
        found = [
            table
            for table, numbers in usual.items()
            if numbers.shape == ids.shape and not torch.equal(numbers, ids) and _differ(numbers, moved.get(table))
        ]
        if len(found) == 1:
            return found[0]
    return None


def _differ(one: Shaped[Tensor, "..."], other: Shaped[Tensor, "..."] | None) -> bool:
    return other is not None and not torch.equal(one, other)


def _paddings(network: PreTrainedModel) -> set[int]:
    """List the ids that may mean padding to the model, of those that it can read."""
    known = [*padding_ids(network.config), *(table.padding_idx for table in _tables(network))]
    return {number for number in known if isinstance(number, int) and 0 <= number < (vocabulary_size(network) or 0)}


def _tables(network: PreTrainedModel) -> list[nn.Embedding]:
    return [module for module in modules_of(network) if isinstance(module, nn.Embedding)]


def looked_up(network: PreTrainedModel, tensors: Mapping[str, Tensor]) -> "dict[nn.Module, Int[Tensor, 'row token']]":
    """Note the numbers that every table of embeddings is asked for, before the first block."""
    with _listening(network) as found, suppress(Captured):
        network(**tensors)
    return found


@contextmanager
def _listening(network: PreTrainedModel) -> Iterator[dict[nn.Module, Tensor]]:
    found: dict[nn.Module, Tensor] = {}

    def note(table: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and table not in found:
            found[table] = args[0].detach().clone()

    def leave(*_: object) -> None:
        if found:  # past the embeddings
            raise Captured(None)

    blocks = [block for part in modules_of(network) if isinstance(part, nn.ModuleList) for block in part]
    with before_each(_tables(network), note), before_each(blocks, leave):
        yield found
