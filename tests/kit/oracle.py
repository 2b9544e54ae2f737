"""The definition: one target at a time through autograd, no structure assumed. The truth of every test."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.rules import Rule


def attribute_one(
    function: Callable[[Float[Tensor, "source d"]], Float[Tensor, " out"]],
    end: Float[Tensor, "source d"],
    start: Float[Tensor, "source d"],
    *,
    rule: Rule,
    readout: str = "displacement",
) -> tuple[Float[Tensor, " source"], Float[Tensor, ""]]:
    """Integrated gradients of how far one target moves, divided among its sources [1]_.

    Parameters
    ----------
    function
        The target's vector as a function of all sources.
    end, start
        Both ends of the straight path.
    rule
        Nodes on (0, 1) and weights; each node costs one forward and one backward pass.
    readout
        ``"displacement"`` or ``"projection"``, see docs/method.md.

    Returns
    -------
    Signed scores, one per source, and the displacement that they sum to up to the error of `rule`.

    References
    ----------
    .. [1] Sundararajan, Taly & Yan (2017), :arxiv:`1703.01365`, eq. 1, with a set of outputs as in :arxiv:`2606.21564`.

    Examples
    --------
    >>> from lignite.attribution.rules import gauss_legendre
    >>> sums_with_weights = lambda x: 3 * x[0] + 1 * x[1]
    >>> attribute_one(sums_with_weights, torch.ones(2, 1), torch.zeros(2, 1), rule=gauss_legendre(1))
    (tensor([3., 1.]), tensor(4.))
    """
    with torch.no_grad():
        origin = function(start)
        total = function(end) - origin
    scores = torch.zeros(len(end), dtype=end.dtype)
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        states = (start + node * (end - start)).detach().requires_grad_()
        moved = function(states) - origin
        if readout == "projection":
            level = moved @ (total / torch.linalg.vector_norm(total))
        else:
            level = torch.linalg.vector_norm(moved)
        (gradient,) = torch.autograd.grad(level, states)
        scores += weight * (gradient * (end - start)).sum(-1)
    return scores, torch.linalg.vector_norm(total)


def attribute_all(
    function: Callable[[Float[Tensor, "source d"], int], Float[Tensor, " out"]],
    end: Float[Tensor, "source d"],
    start: Callable[[int], Float[Tensor, "source d"]],
    targets: Sequence[int],
    *,
    rule: Rule,
    readout: str = "displacement",
) -> tuple[Float[Tensor, "target source"], Float[Tensor, " target"]]:
    """`attribute_one` for several targets: `function` and `start` are told which target is meant."""
    rows = [attribute_one(_of(function, j), end, start(j), rule=rule, readout=readout) for j in targets]
    return torch.stack([scores for scores, _ in rows]), torch.stack([displacement for _, displacement in rows])


def _of(function: Callable[[Tensor, int], Tensor], target: int) -> Callable[[Tensor], Tensor]:
    return lambda states: function(states, target)
