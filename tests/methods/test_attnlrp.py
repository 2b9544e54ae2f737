"""AttnLRP on whole models: against the model frozen by hand, and against numbers of its authors' library."""

import gzip
import json

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from tests.kit.architectures import full_precision, randomize
from tests.kit.headed_models import headed
from tests.kit.snapshots import snapshot
from torch import nn
from transformers import AttentionInterface

import lignite
from lignite.errors import OptionError

TEXT = "the plot was thin, but the acting says it all"
BLOCKS = {"bert": "bert.encoder.layer", "llama": "model.layers", "gpt2": "transformer.h", "vit": "vit.layers"}
HEADS = {"bert": "BertForSequenceClassification", "llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}


def model_and_input(name):
    if name != "vit":
        return headed(name, HEADS[name]), TEXT
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20
    )
    network = transformers.ViTForImageClassification(config).double()
    randomize(network, seed=3, gains={})
    pixels = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return lignite.wrap(full_precision(network.eval())), {"pixel_values": pixels}


def halves(multiply, a, b):
    """A product of which either factor is a constant in one half."""
    return (multiply(a, b.detach()) + multiply(a.detach(), b)) / 2


def attention_of_halves(module, query, key, value, attention_mask, scaling, **_):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = halves(lambda q, k: torch.einsum("bhtd,bhsd->bhts", q, k), query, key) * scaling
    if attention_mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool)
        scores = scores if not getattr(module, "is_causal", False) else scores.masked_fill(~mask.tril(), -torch.inf)
    else:
        scores = scores + attention_mask
    mixed = halves(lambda w, v: torch.einsum("bhts,bhsd->bthd", w, v), scores.softmax(-1), value)
    return mixed, None


def frozen(module, args, output):
    """A module's output by a map whose scale, ratio or gate is a number that was measured before."""
    kind, states = type(module).__name__, args[0] if args else None
    if kind == "LayerNorm":
        deviation = torch.sqrt(states.var(-1, unbiased=False, keepdim=True) + module.eps).detach()
        return (states - states.mean(-1, keepdim=True)) / deviation * module.weight + module.bias
    if kind == "LlamaRMSNorm":
        size = torch.sqrt((states**2).mean(-1, keepdim=True) + module.variance_epsilon).detach()
        return states / size * module.weight
    if kind == "LlamaMLP":
        gate = module.gate_proj(states)
        opened = gate * torch.sigmoid(gate).detach()
        return module.down_proj(halves(torch.mul, opened, module.up_proj(states)))
    if "GELU" in kind or kind in ("Tanh", "SiLUActivation"):
        return states * (output / states).detach()
    return None


@pytest.mark.parametrize("name", BLOCKS)
def test_it_is_gradient_x_input_of_the_model_frozen_by_hand(name):
    """Scales, ratios and one half of every product are constants: what is left is nearly linear, and is differentiated.

    Written with hooks and an attention function of its own: no rule of the code under test takes part.
    """
    model, given = model_and_input(name)
    result = lignite.explain(model, given, method="attnlrp")
    target = json.loads(result.attrs["target"])
    network, caught = model.network, []

    AttentionInterface.register("halves", attention_of_halves)
    network.set_attn_implementation("halves")
    for module in network.modules():
        module.register_forward_hook(frozen)
    network.get_submodule(BLOCKS[name])[0].register_forward_pre_hook(
        lambda module, args: caught.append(args[0].retain_grad() or args[0])
    )
    tensors = given if isinstance(given, dict) else {"input_ids": model.tokenizer(TEXT, return_tensors="pt").input_ids}
    logits = network(**tensors).logits
    value = logits[0, -1, target["label"]] if logits.ndim == 3 else logits[0, target["label"]]
    value.backward()

    assert float(value.detach()) == pytest.approx(float(result.attrs["value"]), rel=1e-12)
    expected = (caught[0].grad * caught[0])[0].sum(-1).detach()
    assert_allclose(result.relevance, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("name", BLOCKS)
def test_model_and_torch_are_as_they_were(name):
    """Rules hold while F is computed, and no longer."""
    model, given = model_and_input(name)
    before = snapshot(model.network)

    result = lignite.explain(model, given, method="attnlrp")

    before.assert_equal(snapshot(model.network))
    plain = lignite.explain(model, given, method="gradient-x-input")
    assert result.attrs["value"] == plain.attrs["value"]
    assert not torch.overrides._get_current_function_mode_stack()
    assert not np.allclose(result.relevance, plain.relevance)


def test_a_model_with_torchs_attention_in_one_piece_is_refused():
    """Inside that function no product can be divided; plain gradients in its place would be no AttnLRP."""
    model, given = model_and_input("bert")
    model.network.extra = nn.MultiheadAttention(16, 2)

    with pytest.raises(OptionError, match=r"holds torch's MultiheadAttention.*use 'ig'"):
        lignite.explain(model, given, method="attnlrp")


@pytest.mark.shared
def test_it_is_what_the_authors_library_computes(shared_folder):
    """Against lxt 2.1 on a fine-tuned encoder, in float32, stored with seven decimals."""
    model = lignite.load(shared_folder / "models" / "sst-minilm")
    with gzip.open(shared_folder / "rivals" / "sst.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::20]

    results = lignite.explain(model, [row["text"] for row in rows], method="attnlrp")

    for row, result in zip(rows, results, strict=True):
        assert result.token.values.tolist() == row["tokens"]
        theirs = np.array(row["scores"]["attnlrp"])
        assert_allclose(result.relevance, theirs, rtol=0, atol=2e-4 * np.abs(theirs).max())
