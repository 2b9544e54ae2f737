"""Captum's second opinion, where it is installed: the same numbers from a library that shares no code with ours."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.methods import those_of

from lignite.methods import METHODS
from lignite.methods.scoring.perturbation import seed_of
from lignite.models.hold import at_rest
from lignite.targets.ask import ask

attr = pytest.importorskip("captum.attr", reason="captum is not installed")

TEXTS = ["the plot was thin, but the acting says it all", "people at the plot"]
HEADS = {"bert": "BertForSequenceClassification", "gpt2": "GPT2LMHeadModel"}
AGREED = {"rtol": 1e-5, "atol": 1e-6}
"""The certificate asked of ours below, 1e-6 of a displacement of order one; captum's 256 nodes miss less."""

shapes = pytest.mark.parametrize("name", HEADS)


@pytest.fixture(params=HEADS)
def case(request):
    """A model, its questions, the first block."""
    model = headed(request.param, HEADS[request.param])
    body = model.network.bert.encoder.layer if request.param == "bert" else model.network.transformer.h
    return model, ask(model, TEXTS), body[0]


def relevance(model, rows, method, **options):
    with at_rest(model.network):
        found = METHODS[method](**those_of(method, **{"baseline": "mask", **options})).explain(model, rows, 2.0**26)
    return [explanation.variables["relevance"] for explanation in found]


@contextmanager
def entering(block, action):
    """`action` sees, and may replace, the states that enter a block."""
    handle = block.register_forward_pre_hook(lambda module, args: action(args))
    try:
        yield
    finally:
        handle.remove()


def states_of(model, row, block, ids=None):
    caught = []
    tensors = row.encoded.tensors if ids is None else {**row.encoded.tensors, "input_ids": ids}
    with torch.no_grad(), entering(block, lambda args: caught.append(args[0])):
        model.network(**tensors)
    return caught[0].clone()


def answer(model, row, block):
    """F as a function of the states that enter the first block, by the model itself."""

    def function(states):
        tensors = {name: tensor.expand(len(states), -1) for name, tensor in row.encoded.tensors.items()}
        with entering(block, lambda args: (states, *args[1:])):
            logits = model.network(**tensors).logits
        place = row.objective.position
        return (logits if place is None else logits[:, place])[:, row.objective.index]

    return function


def baseline_of(model, row, block, name):
    actual = states_of(model, row, block)
    special = torch.tensor(row.encoded.tokens.special)
    if name == "mask":
        ids = torch.where(special, row.encoded.tensors["input_ids"], model.tokenizer.mask_token_id)
        return states_of(model, row, block, ids)
    return torch.where(special[:, None], actual, 0)


@pytest.mark.filterwarnings("ignore::lignite.errors.BaselineWarning")
@pytest.mark.parametrize("baseline", ["mask", "zero"])
def test_integrated_gradients_are_captums(case, baseline):
    """The same line in the same states, other nodes, another way to put states into the model."""
    model, rows, block = case

    found = relevance(model, rows, "ig", baseline=(baseline,), tol=1e-6)

    for row, scores in zip(rows, found, strict=True):
        expected = attr.IntegratedGradients(answer(model, row, block)).attribute(
            states_of(model, row, block),
            baseline_of(model, row, block, baseline),
            n_steps=256,
            method="gausslegendre",
        )
        assert_allclose(scores, expected[0].sum(-1).detach(), **AGREED)


def test_gradient_x_input_is_captums(case):
    """No quadrature here: what is left is rounding."""
    model, rows, block = case

    found = relevance(model, rows, "gradient-x-input")

    for row, scores in zip(rows, found, strict=True):
        states = states_of(model, row, block).requires_grad_()
        expected = attr.InputXGradient(answer(model, row, block)).attribute(states)
        assert_allclose(scores, expected[0].sum(-1).detach(), rtol=1e-9, atol=1e-11)


def test_saliency_is_captums(case):
    """The length of what captum gives by coordinate."""
    model, rows, block = case

    found = relevance(model, rows, "saliency")

    for row, scores in zip(rows, found, strict=True):
        states = states_of(model, row, block).requires_grad_()
        expected = attr.Saliency(answer(model, row, block)).attribute(states, abs=False)
        assert_allclose(scores, expected[0].norm(dim=-1).detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", ["occlusion", "shapley", "kernel-shap"])
def test_words_taken_away_are_captums(case, method):
    """Asked row by row and set by set on token ids, with the same random numbers."""
    model, rows, _ = case
    if method == "kernel-shap":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")

    found = relevance(model, rows, method, n_samples=3)

    for row, scores in zip(rows, found, strict=True):
        ids, place = row.encoded.tensors["input_ids"], row.objective.position
        fixed = [special or number == place for number, special in enumerate(row.encoded.tokens.special)]
        features = torch.tensor(np.where(fixed, 0, np.cumsum(~np.array(fixed)) - 1))[None]
        blank = torch.where(torch.tensor(fixed), ids, model.tokenizer.mask_token_id)

        def logit(given, row=row, place=place):
            tensors = {name: tensor.expand(len(given), -1) for name, tensor in row.encoded.tensors.items()}
            logits = model.network(**{**tensors, "input_ids": given}).logits
            return (logits if place is None else logits[:, place])[:, row.objective.index].detach()

        n_players = fixed.count(False)
        torch.manual_seed(seed_of(row, 0))
        if method == "occlusion":
            expected = attr.FeatureAblation(logit).attribute(ids, blank, feature_mask=features)
        elif method == "shapley":
            expected = attr.ShapleyValueSampling(logit).attribute(ids, blank, feature_mask=features, n_samples=3)
        else:
            expected = attr.KernelShap(logit).attribute(ids, blank, feature_mask=features, n_samples=3 * n_players + 2)
        expected = np.where(fixed, 0, expected[0])
        # captum adds in float32, and its regression weighs two sets a million times the others
        assert_allclose(scores, expected, rtol=1e-4, atol=1e-4 if method == "kernel-shap" else 1e-5)
