"""Class activation maps against their three lines, written out on the untouched model by hooks."""

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from tests.kit.architectures import full_precision, randomize
from tests.kit.headed_models import headed

import lignite
from lignite.targets.ask import ask

TEXT = "the plot was thin, but the acting says it all"
READ = {
    "vit": lambda network: [block.layernorm_before for block in network.vit.layers],
    "gpt2": lambda network: [block.ln_1 for block in network.transformer.h],
    "llama": lambda network: [block.input_layernorm for block in network.model.layers],
    "bert": lambda network: [network.bert.embeddings, *network.bert.encoder.layer][:-1],
}
"""Modules whose output the attention of each block reads; of BERT, whose norms stand behind attention, the layers."""
MAPS = {
    "grad-cam": lambda states, gradient, content: states @ gradient[content].mean(0),
    "hirescam": lambda states, gradient, content: (states * gradient).sum(-1),
    "layercam": lambda states, gradient, content: (states * gradient.relu()).sum(-1),
}
ROUNDED = {"rtol": 1e-9, "atol": 1e-12}
"""Float64 sums in another order: 1e-16 for each of some thousand operations, with room."""

every_map = pytest.mark.parametrize("method", MAPS)


def vit():
    """Three by three patches behind a class token, in double precision."""
    config = transformers.ViTConfig(
        image_size=12, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        num_labels=3,
    )  # fmt: skip
    network = transformers.ViTForImageClassification(config).double()
    randomize(network, seed=3, gains={})
    return full_precision(network.eval())


def pixels():
    return torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def model_and_input(name):
    """A tiny model, an input, and what is explained of it."""
    if name == "vit":
        return lignite.wrap(vit()), {"pixel_values": pixels()}, 1
    heads = {"bert": "BertForSequenceClassification", "gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
    return headed(name, heads[name]), TEXT, 1 if name == "bert" else None


def seen_by_hooks(name, model, row):
    """States that the attention of each block reads, and the gradient of the explained logit there."""
    caught = []

    def keep(_module, _args, output):
        caught.append(output)
        output.retain_grad()

    handles = [module.register_forward_hook(keep) for module in READ[name](model.network)]
    logits = model.network(**row.encoded.tensors).logits[0]
    place = row.objective.position
    (logits if place is None else logits[place])[row.objective.index].backward()
    for handle in handles:
        handle.remove()
    return [(states[0].detach(), states.grad[0]) for states in caught]


@every_map
@pytest.mark.parametrize("name", READ)
def test_maps_are_their_definitions(name, method):
    """At every block, as the recipe of their authors for transformers reads them: behind the first norm.

    A decoder's tokens behind the one that answers have no gradient, and so no say.
    """
    model, given, target = model_and_input(name)
    (row,) = ask(model, given, target)
    content = ~torch.tensor(row.encoded.tokens.special)
    seen = seen_by_hooks(name, model, row)

    why = lignite.explain(model, given, target=target, method=method)

    expected = []
    for states, gradient in seen:
        scores = MAPS[method](states, gradient, content)
        expected.append(torch.where((gradient != 0).any(-1), scores, 0))
    assert len(expected) == why.sizes["layer"]
    assert_allclose(why.layer_relevance, torch.stack(expected), **ROUNDED)
    assert_allclose(why.relevance, expected[-1], **ROUNDED)


@every_map
def test_unsigned_maps_keep_what_speaks_for_the_answer(method):
    """The published maps end in a ReLU: nothing below zero is left, and nothing above it changes."""
    model, given, target = model_and_input("vit")

    signed = lignite.explain(model, given, target=target, method=method)
    kept = lignite.explain(model, given, target=target, method=method, signed=False)

    assert signed.layer_relevance.min() < 0 < signed.layer_relevance.max()
    assert_allclose(kept.relevance, np.maximum(signed.relevance, 0), rtol=0, atol=0)
    assert_allclose(kept.layer_relevance, np.maximum(signed.layer_relevance, 0), rtol=0, atol=0)
