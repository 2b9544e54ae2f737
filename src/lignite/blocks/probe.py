"""What a block is asked by running it: who moves when one token does, and what is kept for the way back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from lignite.blocks.arguments import change_tensors
from lignite.blocks.norms import norms_in
from lignite.blocks.record import BlockCall
from lignite.models.hold import before_each


def move_first(states: Float[Tensor, "token d"], kept: Bool[Tensor, " token"] | None) -> Float[Tensor, "1 token d"]:
    """Move the first token of states, which all that look back can see.

    It moves by noise of its own size: a constant would vanish in a norm.
    """
    # a seed of its own: noise along the state vanishes in a norm too, and weights may be draws from seed 0
    generator = torch.Generator("cpu").manual_seed(104_729)
    noise = torch.randn(states.shape[-1], generator=generator, dtype=torch.float64, device="cpu").to(states)
    moved, place = states.clone(), _first(kept)
    moved[place] += noise * moved[place].std()
    return moved[None]


def others_than_first(states: Float[Tensor, "token d"], kept: Bool[Tensor, " token"] | None) -> Bool[Tensor, " token"]:
    """Flag all tokens but the one that `move_first` moves."""
    return torch.arange(len(states), device=states.device) != _first(kept)


def _first(kept: Bool[Tensor, " token"] | None) -> int:
    return 0 if kept is None else int(kept.nonzero()[0, 0])


def tells_points_apart(call: BlockCall) -> bool:
    """Tell whether anything that the block is handed beside its states has several rows (ALiBi of every head)."""
    rows: list[int] = []

    def note(tensor: Shaped[Tensor, "..."]) -> Tensor:
        rows.append(len(tensor) if tensor.ndim > 2 else 1)
        return tensor

    change_tensors((call.args, call.kwargs), note)
    return any(number > 1 for number in rows)


@contextmanager
def norms_noted(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Note the norms of a block that run."""
    seen: list[nn.Module] = []
    with before_each(norms_in(module), lambda norm, _: seen.append(norm)):
        yield seen


def linear_inputs(module: nn.Module, run: Callable[[], Any], n_tokens: int) -> list[tuple[nn.Module, int]]:
    """List the linear maps of a block that see one row per token, in the order in which they run, with its width."""
    seen: list[tuple[nn.Module, int]] = []

    def note(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].shape[:-1].numel() == n_tokens:
            seen.append((part, inputs[0].shape[-1]))

    maps = [part for part in module.modules() if getattr(getattr(part, "weight", None), "ndim", 0) == 2]
    with before_each(maps, note):
        run()
    return seen


def saved_bytes(run: Callable[[], Tensor], module: nn.Module) -> int:
    """Count the bytes that autograd keeps of a run, without weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Shaped[Tensor, "..."]) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(kept.values())
