"""Attention of TransformerLens's blocks, met at the points that it hooks: queries, keys, values, scores, heads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lignite.blocks.functions import See
from lignite.models.hold import after_each, modules_of

_POINTS = {"query": ("hook_q", "hook_rot_q"), "key": ("hook_k", "hook_rot_k"), "value": ("hook_v",)}
"""Where these pass, the last one that runs counts: behind it positions are rotated in."""

SCORES, HEADS = "hook_attn_scores", "hook_z"


def hooked_attention(module: nn.Module) -> list[nn.Module]:
    """List the parts of a module whose heads pass a point of their own."""
    return [part for part in modules_of(module) if hasattr(part, HEADS) and hasattr(part, SCORES)]


@contextmanager
def hooks_met(module: nn.Module, see: See, *, every: bool = False) -> Iterator[None]:
    """Let `see` answer for the heads of the first attention that is called, or of `every` one."""
    met: list[nn.Module] = []
    with ExitStack() as hooks:
        for part in hooked_attention(module):
            hooks.enter_context(_met(part, see, lambda part: every or not met or met[0] is part, met.append))
        yield


@contextmanager
def _met(
    attention: nn.Module, see: See, is_asked: Callable[[nn.Module], bool], note: Callable[[nn.Module], None]
) -> Iterator[None]:
    parts: Any = attention
    passed: dict[str, Tensor] = {}

    def keep(what: str) -> Callable[..., None]:
        def seen(_: nn.Module, args: Any, output: Float[Tensor, "..."]) -> None:
            passed[what] = output

        return seen

    def answer(_: nn.Module, args: Any, heads: Float[Tensor, "point token head d_value"]) -> Tensor | None:
        if not is_asked(attention):
            return None
        note(attention)
        query, key, value = (passed[what].transpose(1, 2) for what in _POINTS)
        scale = 1 / float(parts.attn_scale)
        bias = _bias(passed["scores"], query, key, scale)
        return see(lambda *_, **__: (heads, None), (None, query, key, value, bias), {"scaling": scale})

    with ExitStack() as hooks:
        for what, names in _POINTS.items():
            points = [getattr(parts, name) for name in names if hasattr(parts, name)]
            hooks.enter_context(after_each(points, keep(what)))
        hooks.enter_context(after_each([getattr(parts, SCORES)], keep("scores")))
        hooks.enter_context(after_each([getattr(parts, HEADS)], answer))
        yield


def _bias(
    scores: Float[Tensor, "point head token source"],
    query: Float[Tensor, "point head token d_key"],
    key: Float[Tensor, "point kv source d_key"],
    scale: float,
) -> Float[Tensor, "1 head token source"]:
    """Find what was added to the products of queries and keys: a mask, biases of positions, or rounding, which is none.

    It is that of the first point: what differs from point to point is no bias, and fails the trial.
    """
    products = query[:1] @ key[:1].repeat_interleave(query.shape[1] // key.shape[1], dim=1).mT * scale
    lowest = torch.finfo(scores.dtype).min
    hidden = scores[:1] <= lowest / 2
    added = torch.where(hidden, 0, scores[:1] - products)
    rounding = 64 * torch.finfo(scores.dtype).eps * products.abs().max()
    added = torch.where(added.abs() <= rounding, 0, added)
    return torch.where(hidden, lowest, added).detach()
