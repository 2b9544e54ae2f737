"""The self term: what stands on the diagonal of targets that are their own baseline, and so give themselves nothing."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.attend import repeat_groups
from lignite.attribution.axes import PerTarget, Targets
from lignite.attribution.block import Block, OpenBlock
from lignite.errors import OptionError


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


def attention_on_self(block: Block, targets: Targets, at_once: int) -> Float[Tensor, "target head"]:
    """Read how much each target attends to itself, `at_once` targets at a time.

    Raises
    ------
    OptionError
        If the block does not show its attention weights.
    """
    if block.route != "interface":
        raise OptionError("self_term='map_ratio' needs attention weights, which this block does not show.")
    shown, own = cast(OpenBlock, block), []
    with torch.no_grad():
        query, key, _ = shown.projections
        key = repeat_groups(key, query.shape[1])
        for some in targets.split(at_once):
            weights = shown.scoring.weights(query[:, :, some] @ key.mT * shown.scoring.scale, some)[0]
            own.append(weights[:, torch.arange(len(some), device=some.device), some].T)
    return torch.cat(own)
