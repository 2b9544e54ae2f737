"""CA-LIG's content and structure: fuse them in every layer, then follow them or add them up over the layers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.errors import OptionError


def structure_of(gradient: Float[Tensor, "*row layer target source"]) -> Float[Tensor, "*row layer source"]:
    """Add up what a layer's attention to each source does for the prediction, over all targets that attend to it.

    `gradient` is attention times its class gradient, averaged over heads. To first order the sum is the change of F
    when every target's weight on that source grows by its own size.
    """
    return gradient.sum(-2)


def fuse(
    content: Float[Tensor, "*row layer token"], structure: Float[Tensor, "*row layer token"], share: float
) -> Float[Tensor, "*row layer token"]:
    """Mix `share` of content and 1 − `share` of structure, each measured by its largest magnitude over all layers.

    The result is in the unit of the content: ``share=1`` is the content itself, ``share=0`` the structure alone,
    scaled so that its largest magnitude is the content's. One scale for all layers keeps their proportions.

    Examples
    --------
    >>> fuse(torch.tensor([[2.0, -1.0]]), torch.tensor([[0.1, 0.4]]), 0.5)
    tensor([[1.2500, 0.5000]])
    """
    if share == 1:
        return content
    return share * content + (1 - share) * _largest(content) / _largest(structure).clamp_min(1e-30) * structure


def _largest(scores: Float[Tensor, "*row layer token"]) -> Float[Tensor, "*row 1 1"]:
    return scores.abs().amax((-2, -1), keepdim=True)


def weights_of(layer_weights: Sequence[float] | str | None, n_layers: int) -> list[float]:
    """Choose weights of the layers that add up to one, so that a weighted sum of complete maps is complete.

    ``"all"`` and None weigh all layers equally, ``"lower-half"`` and ``"lower-third"`` the lower ones alone (rounded
    up).

    Raises
    ------
    OptionError
        If the number of weights is not that of the layers, or they add up to nothing.
    """
    if layer_weights is None or isinstance(layer_weights, str):
        share = {"lower-half": 2, "lower-third": 3}.get(layer_weights or "all", 1)
        chosen = -(-n_layers // share)
        return [1 / chosen if layer < chosen else 0.0 for layer in range(n_layers)]
    given = [float(weight) for weight in layer_weights]
    if len(given) != n_layers:
        raise OptionError(f"layer_weights has {len(given)} numbers; this model has {n_layers} layers.")
    if sum(given) == 0:
        raise OptionError("layer_weights add up to zero; their sum scales the result.")
    return [weight / sum(given) for weight in given]


def rollout(
    content: Float[Tensor, "*row layer token"],
    gradient: Float[Tensor, "*row layer target source"],
    share: float,
    reader: Float[Tensor, "*row token"],
) -> Float[Tensor, "*row token"]:
    """Follow fused matrices through all layers, R ← R + C R from the identity, read where the prediction is read.

    C of a layer has the content on its diagonal and the attention gradient in its entries, fused as in `fuse`; it is
    signed throughout. `reader` are the shares with which the head reads each token of the last layer.
    """
    diagonal = torch.diag_embed(content)
    scale = diagonal.abs().amax((-3, -2, -1), keepdim=True).clamp_min(1e-30)
    largest = gradient.abs().amax((-3, -2, -1), keepdim=True).clamp_min(1e-30)
    fused = share * diagonal / scale + (1 - share) * gradient / largest
    total = reader[..., None, :]
    # Reading first, from the top: one row vector passes through every layer.
    for layer in range(fused.shape[-3] - 1, -1, -1):
        total = total + total @ fused[..., layer, :, :]
    return (total - reader[..., None, :])[..., 0, :]
