"""Complete the diagonal where a target is its own baseline and so scores zero by construction."""

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.axes import PerTarget, Targets


def own_share(scores: Float[Tensor, "target *head source"], targets: Targets) -> PerTarget:
    """Divide what a target gives itself by its total; nothing where the total is nothing."""
    rows = torch.arange(len(targets), device=targets.device)
    own, total = scores[rows, ..., targets], scores.sum(-1)
    return torch.where(total == 0, torch.zeros_like(own), own / total)


def complete_diagonal(
    scores: Float[Tensor, "target *head source"], share: PerTarget, targets: Targets
) -> Float[Tensor, "target *head source"]:
    """Give each target `share` of its own total and the other sources the rest, so that the total stays.

    With ratio = share / (1 - share) this is the self term of :arxiv:`2606.21564`: self = ratio x others, then the
    scores of the target are scaled back to their sum.

    Examples
    --------
    >>> complete_diagonal(torch.tensor([[0.0, 4.0]]), torch.tensor([0.25]), torch.tensor([0]))
    tensor([[1., 3.]])
    """
    rows = torch.arange(len(targets), device=targets.device)
    completed = scores * (1 - share[..., None])
    completed[rows, ..., targets] = share * scores.sum(-1)
    return completed
