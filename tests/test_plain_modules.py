"""Modules that know nothing of transformers are explained as they are, held to autograd through them."""

import numpy as np
import pytest
import torch
from tests.kit.architectures import ARCHITECTURES
from tests.kit.oracle import attribute_one
from tests.kit.plain_modules import GPT, PATCH, EncoderClassifier, VisionTransformer, build
from tests.kit.snapshots import snapshot
from tests.kit.wide import mostly_wide
from torch import nn
from torch.testing import assert_close

import lignite
from lignite.attribution.rules import graded
from lignite.errors import OptionError
from lignite.inputs.encode import encode

IDS = torch.tensor([[4, 7, 1, 9, 2]])
PIXELS = torch.rand(1, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

MODULES = {
    "gpt": (GPT, {}, IDS, "h"),
    "gpt-imported": (GPT, {"how": "imported"}, IDS, "h"),
    "gpt-manual": (GPT, {"how": "manual"}, IDS, "h"),
    "gpt-last": (GPT, {"last": True}, IDS, "h"),
    "encoder": (EncoderClassifier, {}, IDS, "encoder.layers"),
    "encoder-norm-first": (EncoderClassifier, {"norm_first": True}, IDS, "encoder.layers"),
    "encoder-tokens-first": (EncoderClassifier, {"batch_first": False}, IDS, "encoder.layers"),
    "torchvision": (VisionTransformer, {}, PIXELS, "encoder.layers"),
    "timm": (VisionTransformer, {"how": "fused"}, PIXELS, "encoder.layers"),
}


def made(name):
    kind, options, given, stack = MODULES[name]
    return build(kind, **options), given, stack


def call_plainly(module, given):
    """The module's logits for one row, by its own call; those of the last token where there are several."""
    turned = getattr(module, "batch_first", True)
    answer = module(given if turned else given.T)
    answer = answer[0] if isinstance(answer, tuple) else answer
    return answer.reshape(-1, answer.shape[-1])[-1]


def states_of_block(module, given, stack, number):
    """What enters one block, and the block as a function of it, rows first; by a hook of the test's own."""
    block, seen = module.get_submodule(f"{stack}.{number}"), []
    hook = block.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    call_plainly(module, given)
    hook.remove()
    turned = not getattr(module, "batch_first", True)

    def run(states):
        return (block(states[:, None])[:, 0]) if turned else block(states[None])[0]

    return (seen[0][:, 0] if turned else seen[0][0]), run


@pytest.mark.parametrize("name", mostly_wide(MODULES, ["gpt-manual", "encoder-tokens-first", "torchvision"]))
def test_flow_of_a_plain_module_is_that_of_autograd_through_its_block(name):
    """The map of a block is defined by the block alone: one target at a time, from a start of zeros."""
    module, given, stack = made(name)
    states, run = states_of_block(module, given, stack, 1)

    flow = lignite.flow(lignite.wrap(module), given, layers=1, maps="whole", baseline="zero", tol=1e-5)

    rule = graded(160, 4)
    for target in (1, 4):
        scores, displacement = attribute_one(lambda x, t=target: run(x)[t], states, torch.zeros_like(states), rule=rule)
        assert_close(float(flow.whole_displacement.sel(layer=1, target=target)), float(displacement), rtol=1e-9, atol=0)
        found = torch.tensor(flow.whole.sel(layer=1, target=target).values)
        assert_close(found, scores, rtol=0, atol=2e-4 * float(displacement))  # either rule may miss its tolerance


@pytest.mark.parametrize(
    "name", mostly_wide([name for name in MODULES if name != "gpt-manual"], ["gpt", "encoder", "timm"])
)
def test_attention_is_met_where_torch_computes_it(name):
    """Then every map and detail is offered, at the price of a closed form."""
    module, given, _ = made(name)
    images = given.ndim == 4

    report = lignite.check(lignite.wrap(module), length=None if images else 6)

    assert {layer.route for layer in report.layers} == {"interface"}
    assert report.complete
    assert max(max(layer.error, layer.trial) for layer in report.layers) < 1e-12  # float64


@pytest.mark.parametrize("name", ["gpt", "gpt-last", "encoder", "encoder-tokens-first", "timm"])
def test_attention_gradients_of_a_plain_module_are_those_of_its_weights(name, monkeypatch):
    """Against torch's own function written out, with its weights kept for the way down."""
    module, given, _ = made(name)
    why = lignite.explain(lignite.wrap(module), given, method="ca-lig", detail="heads")

    weights = []

    def attend(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if is_causal:
            scores = scores + torch.full(scores.shape[-2:], float("-inf"), dtype=scores.dtype).triu(1)
        weights.append(scores.softmax(-1))
        weights[-1].retain_grad()
        return weights[-1] @ value

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    call_plainly(module, given).max().backward()

    expected = torch.stack([each.detach() * each.grad for each in weights])[:, 0]
    assert_close(torch.from_numpy(why.attention_gradient_heads.values), expected, rtol=1e-9, atol=1e-12)


def test_attention_written_out_is_split_where_tokens_have_met():
    """Nobody calls a function there: heads are found at the output projection."""
    report = lignite.check(lignite.wrap(made("gpt-manual")[0]), length=6)

    assert {layer.route for layer in report.layers} == {"projection"}


@pytest.mark.filterwarnings("ignore:baseline='zero'")  # zero is where this line starts, whatever it means
@pytest.mark.parametrize("name", mostly_wide(MODULES, ["gpt-last", "encoder-tokens-first"]))
def test_integrated_gradients_of_a_plain_module_are_those_of_its_embeddings(name):
    """Brute force: a straight line at what enters the first block, through the module itself, by a hook of the test."""
    module, given, stack = made(name)
    states, _ = states_of_block(module, given, stack, 0)
    with torch.no_grad():
        label = int(call_plainly(module, given).argmax())
    end = torch.zeros(len(states), dtype=torch.float64)
    rule = graded(160, 4)
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        point = (float(node) * states).requires_grad_()
        turned = not getattr(module, "batch_first", True)
        placed = point[:, None] if turned else point[None]
        hook = module.get_submodule(f"{stack}.0").register_forward_pre_hook(lambda _, args, at=placed: (at, *args[1:]))
        (gradient,) = torch.autograd.grad(call_plainly(module, given)[label], point)
        hook.remove()
        end += weight * (gradient * states).sum(-1)

    why = lignite.explain(
        lignite.wrap(module), given, target=label, method="ig", baseline="zero", keep_special=False, tol=1e-5
    )

    assert_close(torch.tensor(why.relevance.values), end, rtol=0, atol=2e-4 * float(end.abs().sum()))


class Plain(nn.Module):
    """A transformers model inside somebody's module: nothing outside says that it is one."""

    def __init__(self, network):
        super().__init__()
        self.body = network

    def forward(self, input_ids, attention_mask=None):
        return self.body(input_ids=input_ids, attention_mask=attention_mask).logits


class Head(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.body, self.head = network, nn.Linear(network.config.hidden_size, 3).double()

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0])


@pytest.mark.parametrize("family", mostly_wide(["bert", "gpt2"], ["bert"]))
def test_a_transformers_model_in_a_plain_module_has_the_same_flow(family):
    """What is found by trial there is what its configuration says here."""
    architecture = ARCHITECTURES[family]
    network, inputs = architecture.build(seed=0), architecture.inputs(seed=1, length=5)
    torch.manual_seed(0)

    bare = lignite.flow(lignite.wrap(Head(network)), inputs["input_ids"])
    own = lignite.flow(lignite.wrap(network), inputs)

    for name in own.data_vars:
        np.testing.assert_allclose(bare[name].values, own[name].values, rtol=0, atol=1e-12)
    assert bare.attrs["plans"] == own.attrs["plans"]


@pytest.mark.parametrize(
    "method", mostly_wide(["relevance-flow", "ca-lig", "attention-rollout", "occlusion"], ["relevance-flow"])
)
def test_a_bundled_classifier_in_a_plain_module_is_explained_the_same(method):
    """Words, classes and starts are the same; only what leads there differs."""
    model = lignite.load("tiny-sentiment")
    bare = lignite.wrap(Plain(model.network), model.tokenizer, labels=["negative", "positive"])

    ours, own = (lignite.explain(each, "A superb film.", method=method) for each in (bare, model))

    assert ours.prediction == own.prediction
    np.testing.assert_allclose(ours.relevance.values, own.relevance.values, rtol=0, atol=1e-5)
    assert list(ours.token.values) == list(own.token.values)


@pytest.mark.parametrize("name", mostly_wide(["gpt", "encoder", "encoder-tokens-first"], ["encoder"]))
def test_a_list_of_texts_gets_the_numbers_of_each_alone(name):
    """Padding behind a text is not seen by a causal module, and is told to others in their own words."""
    module, _, _ = made(name)
    model = lignite.wrap(module)
    texts = [[4, 7, 1, 9, 2], [3, 5], [8, 8, 6]]

    together = lignite.explain(model, texts, method="relevance-flow")

    for text, why in zip(texts, together, strict=True):
        alone = lignite.explain(model, text, method="relevance-flow")
        np.testing.assert_allclose(why.relevance.values, alone.relevance.values, rtol=0, atol=1e-9)


def test_an_encoder_is_told_what_is_padding():
    """Its answer to a padded text is the answer to the text."""
    module, _, _ = made("encoder")
    ids = torch.tensor([[4, 7, 1, 0, 0]])

    padded = lignite.explain(lignite.wrap(module), {"input_ids": ids, "attention_mask": (ids > 0).long()}, target=1)

    alone = lignite.explain(lignite.wrap(module), ids[:, :3], target=1)
    np.testing.assert_allclose(padded.logit.values, alone.logit.values, rtol=1e-12)


def test_a_module_is_as_it_was_afterwards():
    """Weights, flags, hooks and torch's own functions; also where it was in training, with gradients."""
    module = build(EncoderClassifier).train()
    before, own = snapshot(module), torch.nn.functional.scaled_dot_product_attention

    model = lignite.wrap(module)
    lignite.flow(model, IDS)
    lignite.explain(model, IDS)

    before.assert_equal(snapshot(module))
    assert torch.nn.functional.scaled_dot_product_attention is own
    assert module.training
    assert module.encoder.layers[0].training


def test_patches_of_a_picture_are_named_by_their_places():
    """A class token and two rows of three, found by changing the corners."""
    model = lignite.wrap(made("torchvision")[0])

    why = lignite.explain(model, PIXELS, method="occlusion")

    assert list(why.token.values) == ["[CLS]", "r0c0", "r0c1", "r0c2", "r1c0", "r1c1", "r1c2"]
    assert model.network.config.patch_size == (PATCH, PATCH)


def test_a_picture_becomes_pixels_by_mean_and_scale():
    """The very numbers that a normalising transform makes of colours from 0 to 1."""
    picture = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    model = lignite.wrap(made("torchvision")[0], mean=[0.4, 0.5, 0.6], std=[0.1, 0.2, 0.3])

    (encoded,) = encode(model, picture)

    expected = (picture / 255 - np.array([0.4, 0.5, 0.6])) / np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(encoded.tensors["pixel_values"][0].numpy(), np.moveaxis(expected, -1, 0), atol=1e-6)
    np.testing.assert_array_equal(encoded.image, picture)


def test_a_module_that_answers_last_answers_nowhere_else():
    """Another token's logits are not to be had: they would be the last one's."""
    model = lignite.wrap(made("gpt-last")[0])

    with pytest.raises(OptionError, match="behind the last token alone"):
        lignite.explain(model, IDS, target=lignite.Target(token=1))
