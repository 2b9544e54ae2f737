"""How often an explanation asks the model, counted in its blocks: on the first call, and once its checks are known."""

from contextlib import contextmanager

import pytest
import torch
from tests.kit.methods import those_of

import lignite

TEXT = "The plot was thin, but the acting was superb."
BACKWARD = 2
"""A backward pass costs two forward ones: one product for the states, one for the weights or their like."""

SINGLE_PASS = [
    "gradient-x-input",
    "saliency",
    "grad-cam",
    "hirescam",
    "layercam",
    "attention-last",
    "attention-rollout",
    "attention-x-gradient",
]


@pytest.fixture
def model():
    """Another one for each test: what was checked of a model is remembered."""
    return lignite.load("tiny-sentiment")


@contextmanager
def counted(network):
    """Forward and backward passes of the whole network per row, and how often all its modules were looked through."""
    blocks = network.bert.encoder.layer
    count = {"passes": 0.0, "walks": 0}

    def inside(module, args):
        cost = 1 + BACKWARD * torch.is_grad_enabled()
        count["passes"] += cost * len(args[0]) / (1 + BACKWARD) / len(blocks)

    class Walked(type(network)):
        def modules(self, *args, **options):
            count["walks"] += 1
            return super().modules(*args, **options)

    handles = [block.intermediate.register_forward_pre_hook(inside) for block in blocks]
    kind = type(network)
    network.__class__ = Walked
    try:
        yield count
    finally:
        network.__class__ = kind
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("method", SINGLE_PASS)
def test_methods_of_one_gradient_take_three_passes(model, method):
    """One for the gradient, two thirds of one for asking twice, and the rest for the stack held against another input.

    On the first call the stack is found, by one forward pass.
    """
    with counted(model.network) as first:
        lignite.explain(model, TEXT, method=method)
    with counted(model.network) as again:
        lignite.explain(model, TEXT, method=method)

    assert first["passes"] <= 3 + 1 / (1 + BACKWARD)
    assert again["passes"] <= 3


@pytest.mark.parametrize("method", ["ca-lig", "ig"])
def test_paths_take_a_fifth_more_than_their_nodes(model, method):
    """Every node is one forward and one backward pass; the ends, the checks and the answer are the rest."""
    lignite.explain(model, "A film.", method=method)

    with counted(model.network) as count:
        why = lignite.explain(model, TEXT, method=method, n_steps=15, tol=0.1)

    assert count["passes"] <= 1.2 * 15
    assert abs(why.relevance).max() > 0


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "occlusion", "random"])
def test_modules_are_looked_through_once(model, method):
    """A model of a billion weights has thousands of modules; every pass used to go through all of them."""
    with counted(model.network) as count:
        lignite.explain(model, ["A superb film.", TEXT], method=method, **those_of(method, tol=0.1))

    assert count["walks"] == 1
