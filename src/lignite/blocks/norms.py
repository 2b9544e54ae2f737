"""Norms and position codes of a block, as closed forms ask for them."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lignite.attribution.block import Projections, Rotation
from lignite.models.hold import before_each

_KEY_NORMS = ("k_norm", "key_norm", "k_layernorm", "key_layernorm", "norm_k")


def epsilon_of(module: nn.Module) -> float | None:
    """Read what a norm adds to a variance; None where the module names no such number."""
    for name in ("eps", "variance_epsilon", "epsilon", "norm_eps"):
        value = getattr(module, name, None)
        if isinstance(value, float):
            return value
    return None


def norms_in(module: nn.Module) -> list[nn.Module]:
    """List the norms of a block, known by their names or their epsilon."""
    return [part for part in module.modules() if "Norm" in type(part).__name__ or epsilon_of(part) is not None]


def list_epsilons(module: nn.Module) -> list[float]:
    """List epsilons of the norms in a block, and the two usual ones for norms that keep theirs in their code."""
    found = {epsilon_of(part) for part in module.modules() if not any(part.children())}
    return sorted({eps for eps in found if eps is not None} | {1e-5, 1e-6})


def see_key_norm(
    module: nn.Module, project: Callable[[], Projections]
) -> tuple[float, Float[Tensor, "group token d"]] | None:
    """See epsilon and input of the norm that keys pass through when a block `project`s; None if there is none."""
    found = [
        (part, eps)
        for name, part in module.named_modules()
        if name.rpartition(".")[2] in _KEY_NORMS and (eps := epsilon_of(part)) is not None
    ]
    if len(found) != 1:
        return None
    inputs: list[Tensor] = []
    with before_each([found[0][0]], lambda _, args: inputs.append(args[0])):
        key = project().key
    if len(inputs) != 1:
        return None
    vectors = inputs[0][0]
    if vectors.ndim == 3 and vectors.shape[:2] != key.shape[1:3]:
        vectors = vectors.transpose(0, 1)
    return found[0][1], vectors if vectors.ndim == 3 else vectors[None]


def find_rotation(
    embeddings: Any, key_under: Callable[[Tensor, Tensor], Float[Tensor, "point kv token d_key"]]
) -> Rotation | None:
    """Find keys before positions are rotated in, for blocks that are handed cosines and sines; else None.

    `key_under` gives the keys under other cosines and sines. Nothing is assumed of how they are applied but that keys
    are linear in them, elementwise; callers check.
    """
    if not (isinstance(embeddings, tuple) and len(embeddings) == 2 and all(isinstance(e, Tensor) for e in embeddings)):
        return None
    cos, sin = embeddings
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    passed = key_under(zero, zero)
    unrotated, turned = key_under(one, zero) - passed, key_under(zero, one) - passed
    # Which channel of the cosines multiplies which coordinate of a key is asked with counted cosines.
    count = torch.arange(1, cos.shape[-1] + 1, dtype=cos.dtype, device=cos.device).expand_as(cos)
    by_cos = _channel(key_under(count, zero) - passed, unrotated)
    by_sin = _channel(key_under(zero, count) - passed, turned)
    return Rotation(unrotated, turned, passed, cos[0][:, by_cos].to(passed), sin[0][:, by_sin].to(passed))


def _channel(counted: Float[Tensor, "*any d_key"], once: Float[Tensor, "*any d_key"]) -> Int[Tensor, " d_key"]:
    """Find for every coordinate of a key the channel of the cosines (or sines) that multiplies it."""
    once, counted = once.flatten(0, -2), counted.flatten(0, -2)
    clearest = once.abs().argmax(0, keepdim=True)
    content = once.gather(0, clearest)[0]
    ratio = counted.gather(0, clearest)[0] / torch.where(content == 0, torch.ones_like(content), content)
    return ratio.round().long().sub(1).clamp_min(0)
