"""Networks of packed weights are explained as the numbers that these stand for, and are left as they were."""

import copy
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from tests.kit.saved_models import IDS, assert_same, few_nodes, save_random
from tests.kit.snapshots import snapshot
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, TorchAoConfig

import lignite
from lignite.errors import ModelError
from lignite.models import shards
from lignite.models.stream import parts_within, weights_of

SMALL = {"num_attention_heads": 2, "hidden_size": 12, "intermediate_size": 20, "num_key_value_heads": 1}
LLAMA = LlamaConfig(vocab_size=50, max_position_embeddings=32, num_hidden_layers=3, attention_bias=True, **SMALL)


def saved(folder, config=LLAMA, kind=LlamaForCausalLM, dtype=torch.float32):
    return save_random(folder, config, kind, dtype)


class Packed(Tensor):
    """A weight in eight bits, as torchao keeps them: it says what its numbers are."""

    @staticmethod
    def __new__(cls, bits: Tensor, scale: Tensor):
        return Tensor._make_wrapper_subclass(cls, bits.shape, dtype=scale.dtype)

    def __init__(self, bits: Tensor, scale: Tensor):
        self.bits, self.scale = bits, scale

    def __tensor_flatten__(self):
        return ["bits", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, inner, meta, size, stride):
        return cls(inner["bits"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0].bits, args[0].scale)
        raise NotImplementedError(f"{func} of packed weights")

    def dequantize(self) -> Tensor:
        return self.bits * self.scale


@few_nodes
def test_packed_weights_are_explained_as_the_numbers_they_stand_for():
    """The reference is a plain model of these numbers; the packed one can do nothing but say them."""
    torch.manual_seed(0)
    packed, plain = (LlamaForCausalLM(LLAMA).eval() for _ in range(2))
    plain.load_state_dict(packed.state_dict())
    for name in ("mlp.up_proj", "self_attn.o_proj"):
        for layer in range(3):
            one, other = (network.get_submodule(f"model.layers.{layer}.{name}") for network in (packed, plain))
            scale = one.weight.detach().abs().amax(1, keepdim=True) / 127
            weight = Packed((one.weight.detach() / scale).round().to(torch.int8), scale)
            one.weight = nn.Parameter(weight, requires_grad=False)
            other.weight.data = weight.dequantize()

    pairs = [lignite.explain(lignite.wrap(network), IDS, method="ca-lig") for network in (packed, plain)]

    assert_same(*pairs)
    assert isinstance(packed.model.layers[0].mlp.up_proj.weight.data, Packed)


@few_nodes
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_files_that_torchao_has_packed_are_explained_as_the_numbers_they_stand_for(stored, tmp_path):
    """Loaded by name, unpacked block by block: its own arithmetic for packed weights rounds otherwise."""
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    whole, packed = saved(tmp_path / "whole"), tmp_path / "packed"
    asked = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    LlamaForCausalLM.from_pretrained(whole, quantization_config=asked, dtype=stored).save_pretrained(packed)
    plain, kept = LlamaForCausalLM(LLAMA).eval(), LlamaForCausalLM.from_pretrained(packed).state_dict()
    plain.load_state_dict({name: each.dequantize() if hasattr(each, "qdata") else each for name, each in kept.items()})
    assert sum(hasattr(each, "qdata") for each in kept.values()) == 3 * 7

    models = lignite.wrap(plain), lignite.load(packed)

    assert {weight.dtype for _, weight in weights_of(models[1].network)} == {torch.float32}
    assert_same(*(lignite.flow(model, IDS) for model in models))
    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in models))


@pytest.mark.parametrize("stream", [True, None])
@pytest.mark.parametrize("method", ["torchao", "bitsandbytes"])
def test_quantised_files_are_not_streamed_and_it_is_said_what_to_do(method, stream, tmp_path, monkeypatch):
    """Asked for, or because they do not fit: what stands in them is read by the quantiser alone."""
    folder = saved(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))
    monkeypatch.setattr(shards, "free_memory", lambda _: 1000)

    with pytest.raises(ModelError, match=r"stored quantised.*give stream=False.*or stream the model"):
        lignite.load(folder, stream=stream)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_quantised_weights_that_do_not_say_their_numbers_are_refused(method):
    """Bytes taken for numbers would be explained as if they were the weights."""
    network = LlamaForCausalLM(copy.deepcopy(LLAMA))  # whose configuration is changed
    network.is_quantized, network.config.quantization_config = True, {"quant_method": method}

    with pytest.raises(ModelError, match=rf"quantised \({method}\).*dequantize\(\)"):
        lignite.wrap(network)


WAYS = {
    "8 bits": {"load_in_8bit": True},
    "8 bits, the head too": {"load_in_8bit": True, "llm_int8_skip_modules": []},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4, scales too": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "nf4 kept as bfloat16": {
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": "bfloat16",
    },
    "fp4, the head too": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "llm_int8_skip_modules": []},
}  # fmt: skip


@pytest.fixture
def library():
    """Each layer of 8 bits would say once a call that it rounds what it reads, were it asked."""
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


def packed_from(folder, way, kind=LlamaForCausalLM, **options):
    return kind.from_pretrained(folder, quantization_config=BitsAndBytesConfig(**way), **options).eval()


def layers_of(network, library) -> list[nn.Linear]:
    return [each for each in network.modules() if isinstance(each, library.nn.Linear4bit | library.nn.Linear8bitLt)]


def bits_of(network) -> dict[str, Tensor]:
    """Give what stands in a network and its scales, byte for byte: packed weights are no numbers."""
    return {name: each.detach().clone().reshape(-1).view(torch.uint8) for name, each in network.state_dict().items()}


@few_nodes
@pytest.mark.parametrize("case", ["new", "run before", "tied"])
@pytest.mark.parametrize("way", WAYS)
def test_a_network_that_bitsandbytes_has_packed_is_explained_as_transformers_unpacks_it(way, case, library, tmp_path):
    """Unpacked by transformers all at once, here block by block.

    Where it runs, a layer moves its scales to another place; a head that is tied to a table stays as it was.
    """
    folder = saved(tmp_path, LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": case == "tied"}))
    packed, plain = packed_from(folder, WAYS[way]), packed_from(folder, WAYS[way]).dequantize()
    assert len(layers_of(packed, library)) == 3 * 7 + ("head" in way)
    if case == "run before":
        packed(**IDS)
    before, bits = snapshot(packed), bits_of(packed)
    modules = dict(packed.named_modules())

    models = lignite.wrap(plain), lignite.wrap(packed)

    assert_same(*(lignite.flow(model, IDS) for model in models))
    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in models))
    assert len(parts_within(models[1].network)) == 3
    head, table = models[1].network.lm_head.weight, models[1].network.model.embed_tokens.weight
    assert (head is table) is (case == "tied")
    before.assert_equal(snapshot(packed))
    assert modules == dict(packed.named_modules())
    assert {name: each.tolist() for name, each in bits.items()} == {
        name: each.tolist() for name, each in bits_of(packed).items()
    }


@few_nodes
@pytest.mark.parametrize("way", ["8 bits", "nf4"])
def test_layers_that_were_transposed_to_be_packed_are_explained_as_plain_ones(way, library, tmp_path):
    """GPT-2 keeps its weights the other way round, and bitsandbytes' layers do not."""
    config = GPT2Config(vocab_size=50, n_embd=12, n_head=2, n_layer=2, n_positions=32, bos_token_id=0, eos_token_id=0)
    folder = saved(tmp_path, config, GPT2LMHeadModel)
    packed, plain = (packed_from(folder, WAYS[way], GPT2LMHeadModel) for _ in range(2))

    models = lignite.wrap(plain.dequantize()), lignite.wrap(packed)

    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in models))


@few_nodes
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", WAYS)
def test_files_that_bitsandbytes_has_packed_are_explained_in_the_precision_that_was_asked_for(
    way, stored, library, tmp_path
):
    """Transformers leaves what is not packed as it was stored, and an unpacked network of two precisions cannot run."""
    folder = tmp_path / "packed"
    packed_from(saved(tmp_path, dtype=stored), WAYS[way], dtype=stored).save_pretrained(folder)
    plain = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).dequantize().float()

    models = lignite.wrap(plain), lignite.load(folder)

    assert {weight.dtype for _, weight in weights_of(models[1].network)} == {torch.float32}
    assert_same(*(lignite.flow(model, IDS) for model in models))
    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in models))


@few_nodes
@pytest.mark.parametrize("way", ["8 bits", "nf4"])
def test_a_packed_network_in_half_precision_is_explained_in_float32(way, library, tmp_path):
    """As any other in half precision: its numbers are those of bfloat16, what is done with them is not."""
    folder = saved(tmp_path)
    packed, plain = (packed_from(folder, WAYS[way], dtype=torch.bfloat16) for _ in range(2))

    models = lignite.wrap(plain.dequantize()), lignite.wrap(packed)

    assert models[1].dtype == torch.bfloat16
    assert_same(*(lignite.explain(model, [IDS, IDS], method="ca-lig")[1] for model in models))


@few_nodes
def test_weights_that_are_packed_anew_in_each_run_are_explained_as_they_are(library, tmp_path):
    """Bitsandbytes can keep them whole for training, where transformers' own dequantize fails."""
    folder = saved(tmp_path)
    whole = packed_from(folder, {"load_in_8bit": True, "llm_int8_has_fp16_weight": True})
    assert isinstance(whole.model.layers[0].mlp.up_proj, library.nn.Linear8bitLt)

    models = lignite.wrap(LlamaForCausalLM.from_pretrained(folder)), lignite.wrap(whole)

    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in models))


@pytest.mark.parametrize("way", ["nf4", "nf4, scales too"])
def test_weights_that_a_processor_has_rearranged_stand_for_the_same_numbers(way, library, tmp_path):
    """Run on a CPU with bfloat16 products, a layer of 4 bits reorders its weights and rounds its scales to bfloat16.

    A scale is off by half a unit in its 8th bit, and so are all numbers that it scales.
    """
    config = LlamaConfig(**{**LLAMA.to_dict(), "hidden_size": 64, "intermediate_size": 128, "head_dim": 32})
    folder = saved(tmp_path, config)
    packed, plain = packed_from(folder, WAYS[way]), packed_from(folder, WAYS[way]).dequantize()
    for layer in layers_of(packed, library):
        weight = layer.weight
        rearranged = library.functional._convert_weight_packed_for_cpu(weight.data, weight.quant_state)
        weight.data, weight.quant_state = rearranged
    bits, scales = packed.model.layers[1].mlp.up_proj.weight, packed.model.layers[1].mlp.up_proj.weight.absmax
    before = bits.data.clone()

    found = dict(weights_of(lignite.wrap(packed).network))

    for name, weight in plain.named_parameters():
        assert_close(found[name], weight, rtol=2**-8, atol=0)
    assert torch.equal(before, bits.data)
    assert scales is bits.absmax
    assert bits.quant_state.packing_format_for_cpu


@pytest.mark.parametrize("whose", ["the user's", "accelerate's"])
def test_what_hangs_on_a_packed_layer_hangs_on_the_plain_one(whose, library, tmp_path):
    """A hook that steers is part of the answer; one that brings weights is not needed."""
    folder = saved(tmp_path)
    packed, plain = packed_from(folder, WAYS["nf4"]), packed_from(folder, WAYS["nf4"]).dequantize()
    if whose == "the user's":
        for network in (packed, plain):
            network.model.layers[1].mlp.down_proj.register_forward_hook(lambda module, args, output: output + 1)
    else:
        pytest.importorskip("accelerate").dispatch_model(packed, {"": "cpu"}, force_hooks=True)
        assert hasattr(packed.model.layers[1].mlp.down_proj, "_hf_hook")

    found = lignite.wrap(packed).network(**IDS).logits

    assert_close(found, plain(**IDS).logits, rtol=0, atol=0)
    assert type(lignite.wrap(packed).network.model.layers[1].mlp.down_proj) is nn.Linear


def stands_in_an_embedding(library, network):
    network.model.embed_tokens = library.nn.Embedding8bit(50, 12).to("cpu")


def is_computed_otherwise(library, network):
    class Halving(library.nn.Linear4bit):
        def forward(self, states):
            return super().forward(states) / 2

    network.model.layers[1].mlp.up_proj.__class__ = Halving


def has_another_forward(library, network):
    layer = network.model.layers[1].mlp.up_proj
    layer.forward = lambda states: type(layer).forward(layer, states) / 2


def is_nowhere(library, network):
    layer = network.model.layers[1].mlp.up_proj
    layer._parameters["weight"] = layer.weight.to("meta")


def has_lost_its_scales(library, network):
    layer = network.model.layers[1].mlp.up_proj
    layer.weight.quant_state = layer.quant_state = None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (stands_in_an_embedding, r"model.embed_tokens of LlamaForCausalLM .*\(Embedding8bit\)"),
        (is_computed_otherwise, r"model.layers.1.mlp.up_proj of LlamaForCausalLM .*\(Halving\)"),
        (has_another_forward, r"model.layers.1.mlp.up_proj of LlamaForCausalLM .*\(Linear4bit\)"),
        (is_nowhere, r"not in memory \(model.layers.1.mlp.up_proj"),
        (has_lost_its_scales, r"12 and 20 features has packed weights without scales"),
    ],
)
def test_a_weight_whose_numbers_are_not_those_of_its_layer_is_refused(spoil, said, library, tmp_path):
    """What another module does with packed weights is not known here, nor what is nowhere."""
    network = packed_from(saved(tmp_path), WAYS["nf4"])
    spoil(library, network)

    with pytest.raises(ModelError, match=said):
        lignite.flow(network, IDS)


class Packing(nn.Linear):
    """A layer as bitsandbytes' own, of which nothing is asked but its bytes and scales."""

    def __init__(self, layer, scale):
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        self._parameters |= layer._parameters
        bits = (layer.weight.detach() / scale).round().to(torch.int8).reshape(-1, 1)
        self.weight, self.quant_state = nn.Parameter(bits, requires_grad=False), (scale, layer.weight.shape)

    def forward(self, states):
        raise NotImplementedError("it would quantise what it reads")


@few_nodes
def test_a_layer_that_says_its_numbers_alone_need_not_run(monkeypatch):
    """As above for whom bitsandbytes is not installed: bytes of another shape, biases, another network's precision."""
    kinds = SimpleNamespace(Linear4bit=Packing, Linear8bitLt=nn.Bilinear, Params4bit=Packed, Int8Params=Packed)
    unpack = SimpleNamespace(dequantize_4bit=lambda bits, state: (bits.double() * state[0]).reshape(state[1]))
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(nn=kinds, functional=unpack))
    torch.manual_seed(0)
    packed, plain = (LlamaForCausalLM(LLAMA).eval() for _ in range(2))
    plain.load_state_dict(packed.state_dict())
    for name in ("mlp.down_proj", "self_attn.v_proj"):
        for layer in range(3):
            place = f"model.layers.{layer}.{name}"
            one = Packing(packed.get_submodule(place), 0.001)
            packed.set_submodule(place, one)
            plain.get_submodule(place).weight.data = unpack.dequantize_4bit(one.weight, one.quant_state).float()

    models = lignite.wrap(plain), lignite.wrap(packed)

    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in models))
    assert type(packed.model.layers[0].mlp.down_proj) is Packing


def test_packed_files_without_the_library_say_what_to_install(tmp_path, monkeypatch):
    """Transformers knows what it needs, and its words are passed on."""
    for name in ("quantizer_bnb_4bit", "quantizer_bnb_8bit"):
        monkeypatch.setattr(f"transformers.quantizers.{name}.is_bitsandbytes_available", lambda: False)
        monkeypatch.setattr(f"transformers.quantizers.{name}.is_accelerate_available", lambda: True)
    folder = saved(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    asked = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(config | asked))

    with pytest.raises(ModelError, match="requires bitsandbytes: `pip install"):
        lignite.load(folder)
