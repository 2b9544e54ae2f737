"""What the attention of each block reads: its states, behind the norm that a block may begin with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lignite.attribution.axes import PerPoint, PointRows, PointStates
from lignite.blocks.norms import norms_in
from lignite.blocks.stack import Stack
from lignite.models.hold import after_each, before_each

Passed = tuple[Tensor, Tensor]
"""What a norm is given, and what it makes of that."""


def trace_normed(stack: Stack, states: PointStates, index: PointRows) -> tuple[list[PointStates], PerPoint]:
    """Follow other states from the first layer on: what the attention of each block reads, and F; differentiable.

    That is what the first norm to run in a block makes of the states that enter it. Where none reads them (norms that
    stand behind attention, states of several streams), it is these states.
    """
    with _first_norms(stack) as passed:
        layers, value = stack.trace(states, index)
    return [_behind(passed[number], layers[number]) for number in range(stack.n_layers)], value


def _behind(passed: Passed | None, entering: PointStates) -> PointStates:
    if passed is None or passed[0].shape != entering.shape or not torch.equal(passed[0], entering):
        return entering
    return passed[1]


@contextmanager
def _first_norms(stack: Stack) -> Iterator[list[Passed | None]]:
    """Note for every call of a block the norm that runs first in it."""
    seen: list[Passed | None] = []

    def begin(_module: nn.Module, _args: Any) -> None:
        seen.append(None)

    def note(_module: nn.Module, args: Any, output: Any) -> None:
        if seen and seen[-1] is None and args:
            seen[-1] = args[0], output

    modules = dict.fromkeys(stack.blocks)  # one that is shared stands there several times
    norms = dict.fromkeys(norm for block in modules for norm in norms_in(block))
    with before_each(modules, begin), after_each(norms, note):
        yield seen
