"""Half-precision models are explained in float32: as a float32 model of the same weights would be, and left alone."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.methods import those_of
from tests.kit.snapshots import snapshot
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

import lignite
from lignite.errors import ModelError
from lignite.methods.scoring.ca_lig import fit_fusion
from lignite.methods.scoring.precision import in_float32
from lignite.models.hold import at_rest
from lignite.targets.ask import ask, predict

TEXT = "the plot was thin"
SHAPES = {
    "bert": "BertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForSequenceClassification",
    "t5": "T5ForSequenceClassification",
}
HALF = (torch.bfloat16, torch.float16)
every_precision = pytest.mark.parametrize("dtype", HALF, ids=["bfloat16", "float16"])


def widened(model: lignite.Model) -> lignite.Model:
    """The same weights in float32, by torch itself."""
    return lignite.wrap(copy.deepcopy(model.network).float(), model.tokenizer)


@every_precision
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")  # six nodes, in either precision
def test_a_half_precision_model_is_explained_like_its_weights_in_float32(name, dtype):
    """Bit for bit, gaps included: what is explained is the function of these weights, not its rounding."""
    model = headed(name, SHAPES[name], dtype=dtype)
    label = 1  # both precisions are asked about the same class, whatever they predict

    found, expected = (
        lignite.explain(one, TEXT, target=label, method="ca-lig", n_steps=6) for one in (model, widened(model))
    )

    for variable in ("relevance", "layer_ig", "displacement", "gap", "output_ig"):
        assert_allclose(found[variable], expected[variable], rtol=0, atol=0, err_msg=variable)
    assert found.attrs["value"] == expected.attrs["value"]


@every_precision
@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig"])
def test_the_gap_of_a_half_precision_model_is_within_the_tolerance(method, dtype):
    """In its own precision sums of some hundred terms miss by per cents; warnings are errors here."""
    model = headed("bert", SHAPES["bert"], dtype=dtype)

    why = lignite.explain(model, TEXT, method=method, tol=1e-4)

    prefix = "" if "gap" in why else "total_"
    size = abs(why[f"{prefix}displacement"]).clip(min=1e-2 * abs(why.attrs["value"]))
    assert (abs(why[f"{prefix}gap"]) <= 1e-4 * size).all()


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.bfloat16, "float32"), (torch.float16, "float32"), (torch.float32, "float32"), (torch.float64, "float64")],
)
def test_a_result_says_in_which_precision_its_value_was_computed(dtype, name):
    """The value of a half-precision model is its float32 copy's, not the one that the model itself returns."""
    model = headed("bert", SHAPES["bert"], dtype=dtype)

    why = lignite.explain(model, TEXT, target=0, method="random")

    assert json.loads(why.attrs["plans"])["precision"] == name
    own = widened(model) if dtype in HALF else model
    assert why.attrs["value"] == float(predict(own, ask(own, TEXT, 0)).value)


@every_precision
def test_a_half_precision_model_is_bit_identical_afterwards(dtype):
    """Weights, their place in memory, gradients, flags and configuration."""
    model = headed("gpt2", SHAPES["gpt2"], dtype=dtype)
    model.network.train()
    model.network.transformer.wte.weight.grad = torch.ones_like(model.network.transformer.wte.weight)
    before = snapshot(model.network)

    lignite.explain(model, TEXT, tol=1e-2)

    before.assert_equal(snapshot(model.network))
    assert {parameter.dtype for parameter in model.network.parameters()} == {dtype}


def test_shared_weights_stay_shared_in_the_copy():
    """A vocabulary that embeddings and head share would otherwise be held twice."""
    model = headed("gpt2", SHAPES["gpt2"], dtype=torch.bfloat16)
    assert model.network.lm_head.weight is model.network.transformer.wte.weight

    with at_rest(model.network):
        exact, _ = in_float32(model, [])

    assert exact.network.lm_head.weight is exact.network.transformer.wte.weight
    assert exact.dtype == torch.float32
    assert exact.network is not model.network


def test_tensors_that_a_module_holds_outside_its_buffers_are_widened_too():
    """A product of two precisions is an error in torch."""
    model = headed("bert", SHAPES["bert"], dtype=torch.bfloat16)
    model.network.table = torch.ones(3, dtype=torch.bfloat16)

    with at_rest(model.network):
        exact, _ = in_float32(model, [])

    assert exact.network.table.dtype == torch.float32


def test_inputs_in_half_precision_are_widened_and_numbers_of_tokens_are_not():
    """Pixels and vectors come in the model's precision."""
    model = headed("bert", SHAPES["bert"], dtype=torch.bfloat16)
    (row,) = ask(model, TEXT)
    vectors = torch.ones(1, row.n_tokens, 2, dtype=torch.bfloat16)
    row = replace(row, encoded=replace(row.encoded, tensors={**row.encoded.tensors, "vectors": vectors}))

    with at_rest(model.network):
        _, (wide,) = in_float32(model, [row])

    assert wide.encoded.tensors["vectors"].dtype == torch.float32
    assert wide.encoded.tensors["input_ids"].dtype == torch.int64
    assert wide.objective == row.objective


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_other_precision_is_copied(dtype):
    """A copy costs memory, and these need none."""
    model = headed("bert", SHAPES["bert"], dtype=dtype)

    assert in_float32(model, [])[0] is model


@every_precision
def test_a_share_is_fitted_in_float32_too(dtype):
    """By the same numbers as with float32 weights, so with the same outcome."""
    model = headed("bert", SHAPES["bert"], dtype=dtype, seed=5)

    found, expected = (fit_fusion(one, [TEXT], target=1, tol=1e-2) for one in (model, widened(model)))

    assert found == expected


def test_the_callers_inference_mode_does_not_reach_the_copy():
    """Its tensors could not be differentiated through."""
    model = headed("bert", SHAPES["bert"], dtype=torch.bfloat16)

    with torch.inference_mode():
        inside = lignite.explain(model, TEXT, target=1)

    assert_allclose(inside.relevance, lignite.explain(model, TEXT, target=1).relevance, rtol=0, atol=0)


def _softmax_attention(query, key, value, attention_mask, scaling):
    key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
    causal = attention_mask is None and query.shape[2] > 1
    heads = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, is_causal=causal
    )
    return heads.transpose(1, 2).contiguous()


def _only_halves(module, query, key, value, attention_mask, scaling=None, **_):
    if query.dtype not in HALF:
        raise RuntimeError("only fp16 and bf16 are supported")
    return _softmax_attention(query, key, value, attention_mask, scaling), None


def _only_forwards(module, query, key, value, attention_mask, scaling=None, **_):
    if query.requires_grad:
        raise NotImplementedError("no backward pass on this device")
    return _softmax_attention(query, key, value, attention_mask, scaling), None


def _another_attention(module, query, key, value, attention_mask, scaling=None, **options):
    heads, _ = _only_halves(module, query, key, value, attention_mask, scaling)
    return 3 * heads, None


@pytest.fixture
def refusing(request):
    """A model whose attention is registered under a name of its own, as flash and flex attention are."""
    attention, dtype = request.param
    AttentionInterface.register("refusing", attention)
    AttentionMaskInterface.register("refusing", sdpa_mask)
    yield headed("llama", "LlamaForSequenceClassification", dtype=dtype, attn_implementation="refusing")
    del AttentionInterface._global_mapping["refusing"], AttentionMaskInterface._global_mapping["refusing"]


@pytest.mark.parametrize("method", ["gradient-x-input", "occlusion", "attention-rollout"])
@pytest.mark.parametrize(
    "refusing",
    [(_only_halves, torch.bfloat16), (_only_halves, torch.float16), (_only_forwards, torch.float32)],
    indirect=True,
)
def test_attention_that_refuses_is_computed_by_its_definition(refusing, method):
    """Flash attention knows half precision alone, flex attention no way back on a CPU; the result says what ran."""
    plain = headed("llama", "LlamaForSequenceClassification", dtype=refusing.dtype)

    found, expected = (
        lignite.explain(model, [TEXT, "people"], target=1, method=method, **those_of(method, baseline="mask"))
        for model in (refusing, widened(plain))
    )

    for one, other in zip(found, expected, strict=True):
        assert_allclose(one.relevance, other.relevance, rtol=0, atol=1e-5)
        assert_allclose(one.attrs["value"], other.attrs["value"], rtol=0, atol=1e-5)
        assert json.loads(one.attrs["plans"])["attention"] == "definition"
        assert "attention" not in json.loads(other.attrs["plans"])
    assert refusing.config._attn_implementation == "refusing"


@pytest.mark.parametrize("refusing", [(_another_attention, torch.bfloat16)], indirect=True)
def test_attention_that_is_none_by_definition_is_refused(refusing):
    """A definition that gives another answer than the model is no way to explain it."""
    with pytest.raises(ModelError, match=r"attn_implementation='refusing'.*the definition of attention answers"):
        lignite.explain(refusing, TEXT, target=1)


@pytest.mark.parametrize("refusing", [(_only_halves, torch.float32)], indirect=True)
def test_a_model_that_cannot_run_says_which_attention_can(refusing):
    """Its own attention refuses its own precision."""
    with pytest.raises(ModelError, match=r"only fp16 and bf16.*loaded with attn_implementation='refusing', try 'sdpa'"):
        lignite.explain(refusing, TEXT, target=1)
