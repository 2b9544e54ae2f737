"""Points that are the same are run once, and differentiated each by itself."""

import torch
from torch.testing import assert_close

from lignite.blocks.shared import Same


def test_points_are_the_same_whose_states_and_place_are():
    """States of one sum in another order are others, and so are those of another place."""
    states = torch.tensor([[[1.0, 2.0]], [[2.0, 1.0]], [[1.0, 2.0]], [[1.0, 2.0]], [[2.0, 1.0]]])

    same = Same.of(states, torch.tensor([0, 0, 0, 1, 0]))

    assert same.first.tolist() == [0, 1, 3]
    assert same.back.tolist() == [0, 1, 0, 2, 1]
    assert [which.tolist() for which, _ in same.turns()] == [[0, 1, 3], [2, 4]]


def test_each_point_has_a_gradient_of_its_own():
    """Of a function that asks something else of every point, through one graph of the distinct ones."""
    weight = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    states = torch.tensor([[[1.0]], [[2.0]], [[1.0]]], dtype=torch.float64).requires_grad_()
    same = Same.of(states, torch.zeros(3, dtype=torch.long))
    seen = []

    def function(distinct):
        seen.append(len(distinct))
        return weight * distinct[same.back].pow(2).sum((1, 2))

    (gradient,) = torch.autograd.grad(same.apply(states, function).sum(), states)

    assert seen == [2]
    assert_close(gradient[:, 0, 0], 2 * weight * states.detach()[:, 0, 0])
