"""Where a path starts, for baselines that can be computed from the states alone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lignite.errors import OptionError


def constant_baseline(
    name: str, states: Float[Tensor, "token d"], kept: Bool[Tensor, " token"]
) -> Float[Tensor, "token d"]:
    """Start at ``"zero"``, or at the ``"mean"`` of the states of all tokens that are no padding."""
    if name == "zero":
        return torch.zeros_like(states)
    return states[kept].mean(0).expand_as(states)


def given_baseline(
    tensor: Float[Tensor, "..."], states: Float[Tensor, "token d"], layer: int, n_layers: int
) -> Float[Tensor, "token d"]:
    """Start at a tensor of the user's: one vector, one per token, or one per layer and token.

    Raises
    ------
    OptionError
        If its shape is none of ``[d]``, ``[token, d]``, ``[layer, token, d]``, or it is not finite.
    """
    n_tokens, width = states.shape
    shapes = {(width,), (n_tokens, width), (n_layers, n_tokens, width)}
    if tuple(tensor.shape) not in shapes:
        raise OptionError(
            f"baseline has shape {list(tensor.shape)}; give [{width}] (all tokens), [{n_tokens}, {width}] (each token) "
            f"or [{n_layers}, {n_tokens}, {width}] (each layer and token)."
        )
    if not torch.isfinite(tensor).all():
        raise OptionError("baseline contains NaN or infinity; give finite numbers.")
    chosen = tensor[layer] if tensor.ndim == 3 else tensor
    return chosen.to(states).expand_as(states)
