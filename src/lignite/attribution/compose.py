"""Join the two halves of a block: source to head, head to target."""

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.axes import Targets


def compose(
    attention: Float[Tensor, "target head source"],
    displacement: Float[Tensor, "target head"],
    mlp: Float[Tensor, "target head"],
    targets: Targets,
    *,
    composition: str = "product",
) -> tuple[Float[Tensor, "target source"], Float[Tensor, " target"]]:
    """Follow scores through the heads, and say what each target's scores should add up to.

    ``"product"`` multiplies what a source gives a head by what that head gives the target, and sums over heads; its
    unit is the product of the two, so compare rankings with a whole-block map, not sizes. ``"conserving"`` first
    divides each head's scores by the head's displacement, so that a target's scores sum to those of its `mlp` map. A
    head that has not moved got everything from the target itself.

    Examples
    --------
    Two heads, each passing on half of what it read:

    >>> attention, mlp = torch.ones(3, 2, 3), torch.full((3, 2), 0.5)
    >>> compose(attention, attention.sum(-1), mlp, torch.arange(3))[0][0]
    tensor([1., 1., 1.])
    """
    if composition == "product":
        return torch.bmm(mlp[:, None], attention)[:, 0], (displacement * mlp).sum(-1)
    resting = displacement == 0
    shares = attention / torch.where(resting, torch.ones_like(displacement), displacement)[..., None]
    rows = torch.arange(len(targets), device=targets.device)
    shares[rows, :, targets] = torch.where(resting, torch.ones_like(displacement), shares[rows, :, targets])
    return torch.einsum("mhs,mh->ms", shares, mlp), mlp.sum(-1)
