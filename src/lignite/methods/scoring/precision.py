"""Explain in float32 what a half-precision model says: its rounding is larger than the differences that are sought."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lignite.blocks.attention import NAME, configurations, intercepted
from lignite.blocks.replay import HALF, ROUNDING, in_full
from lignite.errors import ModelError
from lignite.memory import free_memory
from lignite.models.facts import attention_of
from lignite.models.hold import FOREIGN, after_each, at_rest
from lignite.models.load import Model
from lignite.models.stream import changed_tensors, parts_within, streamed_copy, weight_of
from lignite.targets.ask import predict
from lignite.targets.objective import values
from lignite.targets.rows import Row, run

MOST_OF_FREE = 0.25
"""Share of the free memory that a float32 copy of a model may take."""


def in_float32(model: Model, rows: Sequence[Row]) -> tuple[Model, list[Row]]:
    """The same model and inputs with half-precision numbers widened; others are returned as they are.

    The copy takes twice the memory of the half-precision weights for as long as it is held, beside them; where that is
    more than `MOST_OF_FREE`, its blocks are widened when they run, two at a time. It is not kept from one call to the
    next, since weights may change in between. Use it inside `at_rest`, whose state it inherits.
    """
    if model.dtype not in HALF:
        return model, list(rows)
    return replace(model, network=_widened(model.network)), [_widened_row(row) for row in rows]


def _widened(network: nn.Module) -> Any:
    """A copy whose half-precision tensors are float32: all of them, or those of one block at a time.

    What is shared stays shared, and no half-precision copy is made.
    """
    if parts_within(network) or not _has_room(network):
        return streamed_copy(network, weight_of, in_full)
    return copy.deepcopy(network, changed_tensors(network, weight_of, in_full))


def _has_room(network: nn.Module) -> bool:
    """Whether a float32 copy leaves most of the free memory to others."""
    weights = list(network.parameters())
    wide = sum(weight.numel() for weight in weights) * torch.float32.itemsize
    return wide <= MOST_OF_FREE * free_memory(weights[0].device)


def _widened_row(row: Row) -> Row:
    wide = {name: in_full(tensor) for name, tensor in row.encoded.tensors.items()}
    return replace(row, encoded=replace(row.encoded, tensors=wide), answer=None)


_GRADIENTS_PASS = {"eager", "sdpa", NAME}
"""Attention of transformers that computes in any precision and both ways."""


@contextmanager
def explainable(model: Model, rows: Sequence[Row]) -> Iterator[tuple[Model, list[Row], str]]:
    """Hold a model as it can be explained: in float32, on attention that computes in it and can be differentiated.

    Yields the model, the rows and whose attention runs: ``"own"``, or ``"definition"`` where the model's own refuses
    (flash attention knows half precision alone) and softmax attention is computed by its definition instead.

    Raises
    ------
    ModelError
        If the definition gives another answer than the model's own attention.
    """
    with at_rest(model.network):
        wide, widened = in_float32(model, rows)
    with at_rest(wide.network):
        if not rows or _runs_both_ways(wide, widened[0]):
            yield wide, widened, "own"
            return
        own = float(predict(model, rows[:1]).value)
        with intercepted(wide.network):
            _check_definition(model, own, float(predict(wide, widened[:1]).value))
            yield wide, widened, "definition"


def _runs_both_ways(model: Model, row: Row) -> bool:
    """Whether gradients pass through the model's own attention: known for the usual kinds, tried for others."""
    kinds = {config.__dict__["_attn_implementation_internal"] for config in configurations(model.network)}
    if kinds <= {*_GRADIENTS_PASS, None}:
        return True
    try:
        with torch.enable_grad(), _watched(model.network) as leaves:
            value = values(run(model.network, row.encoded.tensors), [row.objective])
            if leaves:
                torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    except FOREIGN:
        return False
    return True


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[Tensor]]:
    """The states that leave each table of embeddings, as something to differentiate by."""
    leaves: list[Tensor] = []

    def watch(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    tables = [part for part in network.modules() if isinstance(part, nn.Embedding | nn.Conv2d)]
    with after_each(tables, watch):
        yield leaves


def _check_definition(model: Model, own: float, found: float) -> None:
    """Compare the answer by the definition of attention with the model's own, as far as its precision reaches."""
    if not abs(found - own) <= ROUNDING[model.dtype].again * max(1.0, abs(own)):
        kind = attention_of(model.config)
        raise ModelError(
            f"the attention of {type(model.network).__name__} (attn_implementation={kind!r}) cannot be differentiated "
            f"in float32, and the definition of attention answers {found:.4g} where it answers {own:.4g}: load the "
            "model with attn_implementation='sdpa' or 'eager'."
        )
