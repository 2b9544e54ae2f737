"""Blocks that are run again on the way down: of a graph through all of them, only the states between are kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from lignite.memory import hand_back
from lignite.models.facts import read_widths
from lignite.models.load import Model
from lignite.models.stream import graphs_made_again
from lignite.targets.rows import bytes_per_token

GRAPHS = 4
"""Times the memory allowed that the graph of one point may take before blocks are run again for it: that costs a
forward pass more, and the default of 256 MiB on a CPU is one of speed."""


def runs_again(model: Model, n_tokens: int, memory: float) -> bool:
    """Say whether blocks are to be run again on the way down, since a graph of them all takes too much."""
    return n_tokens * bytes_per_token(model, gradient=True) > GRAPHS * memory


def bytes_again(model: Model) -> float:
    """Estimate what a token takes where blocks are run again: the graph of one, and a state of every layer."""
    widths, size = read_widths(model.config), torch.finfo(model.dtype).bits // 8
    return size * widths.layers * widths.states + bytes_per_token(model, gradient=True, n_blocks=1)


def run_again(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a forward whose graph is made when it is run backwards; by torch's checkpoints."""

    def alone(*args: Any, **kwargs: Any) -> Any:
        hand_back()
        with graphs_made_again():
            return forward(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(alone, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return call
