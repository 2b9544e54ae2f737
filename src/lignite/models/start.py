"""Where the paths of an explanation start: the states of an input that says nothing."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.errors import OptionError
from lignite.models.images import IMAGE_FILLS, filled, patches_masked
from lignite.models.prediction import filler
from lignite.models.stack import Stack


def start_states(stack: Stack, name: str, *, keep_special: bool, through: bool) -> list[Float[Tensor, "row token d"]]:
    """Baseline states of every layer, last those that leave the last block.

    ``"pad"`` and ``"mask"`` stand for an input whose words are all that token, ``"blur"``, ``"grey"`` and ``"black"``
    for an image whose pixels are all that, run through the model. ``"zero"`` and ``"mean"`` (of a row's tokens) are
    states: with `through` those of the first layer are run through the model, otherwise every layer has its own. With
    `keep_special`, special tokens of the input start as themselves; those of an image do in any case, since no pixel
    reaches them below the first block.
    """
    image = "pixel_values" in stack.tensors
    if name == "mask" and image:
        with patches_masked(stack.network):
            return stack.run_inputs()
    if name in IMAGE_FILLS:
        if not image:
            raise OptionError(f"baseline={name!r} replaces pixels, and this input has none; use 'mask' or 'zero'.")
        return stack.run_inputs(pixel_values=filled(stack.model, stack.tensors["pixel_values"], name))
    if name in ("pad", "mask"):
        return stack.run_inputs(input_ids=blank_ids(stack, name, keep_special=keep_special))
    if name not in ("zero", "mean"):
        raise OptionError(f"baseline={name!r} is no start of a path; name one of 'mask', 'pad', 'zero', 'mean'.")
    first = _with_special(stack, _constant(stack, 0, name), keep_special=keep_special)
    if through:
        with torch.no_grad():
            rows = torch.arange(len(first), device=first.device)
            return [states.detach() for states in stack.trace(first, rows)[0]]
    return [first, *(_constant(stack, layer, name) for layer in range(1, stack.n_layers + 1))]


def blank_ids(stack: Stack, name: str, *, keep_special: bool) -> Int[Tensor, "row token"]:
    """The rows' ids with their words replaced by the pad or mask token."""
    ids = stack.tensors.get("input_ids")
    if ids is None:
        raise OptionError(f"baseline={name!r} replaces words, and this input has none; use 'blur', 'zero' or 'mean'.")
    try:
        blank = filler(stack.model, name)
    except OptionError as error:
        raise OptionError(f"{error} As a baseline, 'zero' and 'mean' need no token.") from error
    replaced = stack.kept & ~special_tokens(stack) if keep_special else stack.kept
    return torch.where(replaced, blank, ids)


def special_tokens(stack: Stack) -> Bool[Tensor, "row token"]:
    special = torch.zeros_like(stack.kept)
    for number, row in enumerate(stack.rows):
        special[number, : row.n_tokens] = torch.tensor(row.encoded.tokens.special, device=special.device)
    return special


def _constant(stack: Stack, layer: int, name: str) -> Tensor:
    states = stack.states[layer]
    if name == "zero":
        return torch.zeros_like(states)
    kept = stack.kept[..., None].to(states)
    return ((states * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)).expand_as(states).contiguous()


def _with_special(stack: Stack, start: Tensor, *, keep_special: bool) -> Tensor:
    stays = ~stack.kept | special_tokens(stack) if keep_special else ~stack.kept
    return torch.where(stays[..., None], stack.states[0], start)
