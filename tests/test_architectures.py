"""The battery is only as good as its models: random in every weight, alive in every token, exact in double."""

import copy
import functools

import pytest
import torch
from tests.kit.architectures import ARCHITECTURES, LENGTH, Architecture, full_precision, full_precision_norms
from torch import Tensor, nn
from torch.testing import assert_close

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
with_heads = pytest.mark.parametrize(
    "architecture", [pytest.param(a, id=n) for n, a in ARCHITECTURES.items() if a.attention != "none"]
)
texts = pytest.mark.parametrize(
    "architecture", [pytest.param(a, id=n) for n, a in ARCHITECTURES.items() if a.kind != "image"]
)


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny products spend longer sharing than computing
    yield
    torch.set_num_threads(n_threads)


@functools.cache
def intact(name: str) -> nn.Module:
    """Built once for all tests that only look at it."""
    return ARCHITECTURES[name].build()


def states_of(architecture: Architecture, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The states entering each block of the stack that `architecture.blocks` names, and those that leave the model."""
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    return output.encoder_hidden_states if architecture.kind == "encoder-decoder" else output.hidden_states


def attention_of(architecture: Architecture, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    model = architecture.build()
    if architecture.attention == "interface":
        model.set_attn_implementation("eager")  # the others return no weights
    with torch.no_grad():
        output = model(**inputs, output_attentions=True)
    return output.encoder_attentions if architecture.kind == "encoder-decoder" else output.attentions


@every_architecture
def test_a_model_has_finite_states_of_order_one(architecture):
    """States that grow or vanish would make every relative tolerance of the battery meaningless."""
    model = intact(architecture.name)

    states = states_of(architecture, model, architecture.inputs())

    n_tokens = states[0].shape[1]
    assert n_tokens == LENGTH or architecture.kind == "image"
    for state in states:
        assert state.shape == (1, n_tokens, model.config.hidden_size)
        assert state.dtype == torch.float64
        assert 0.3 < state.std() < 10
    assert not model.training


@every_architecture
def test_a_model_is_the_same_whenever_it_is_built(architecture):
    """A failing battery must fail again."""
    inputs = architecture.inputs()

    first, again = (
        states_of(architecture, model, inputs) for model in (intact(architecture.name), architecture.build())
    )
    other = states_of(architecture, architecture.build(seed=1), inputs)

    assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first[-1], other[-1], atol=0.1)


@every_architecture
def test_a_single_precision_model_is_the_rounded_double_one(architecture):
    """Float32 runs are judged against float64 ones, so both must be the same model."""
    single = architecture.build(dtype=torch.float32).state_dict()
    double = intact(architecture.name).state_dict()

    for name, weight in double.items():
        # frequencies of rotary positions are exact in single precision, the drawn weights are rounded once
        assert_close(single[name].to(weight.dtype), weight, rtol=2**-23, atol=0, msg=name)


@every_architecture
def test_every_weight_is_random(architecture):
    """Zeros and ones hide mistakes: an ignored bias, a norm whose weight is applied twice."""
    model = intact(architecture.name)

    for name, parameter in model.named_parameters():
        assert not torch.isin(parameter, torch.tensor([0.0, 1.0], dtype=torch.float64)).any(), name
        if parameter.numel() > 1:
            assert (parameter - parameter.flatten()[0]).abs().max() > 0.05, name


@every_architecture
def test_the_block_list_is_where_it_is_said_to_be(architecture):
    """Tests find the blocks by this path, and count them."""
    model = intact(architecture.name)

    blocks = model.get_submodule(architecture.blocks)

    assert isinstance(blocks, nn.ModuleList)
    assert len(blocks) == (1 if architecture.name == "albert" else 3)


@texts
def test_the_first_block_reads_what_its_mask_lets_it_read(architecture):
    """Every token gives something to every token within reach, and nothing to the others."""
    model = intact(architecture.name)
    inputs = architecture.inputs()
    source = 2
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, source] = 3 + (inputs["input_ids"][0, source] - 2) % 50  # another ordinary token

    before, after = (states_of(architecture, model, text)[1][0] for text in (inputs, changed))

    targets = torch.arange(LENGTH)
    reached = targets >= source if architecture.causal else torch.ones(LENGTH, dtype=torch.bool)
    if architecture.window:
        reached &= targets < source + architecture.window
    moved = (after - before).abs().amax(-1)
    assert (moved[reached] > 1e-4).all()  # far above rounding, far below what the changed token itself moves
    # with one token masked for some rows only, a kernel may add the same numbers in another order
    assert (moved[~reached] < 1e-14).all()


@pytest.mark.parametrize("architecture", [pytest.param(a, id=n) for n, a in ARCHITECTURES.items() if a.kind == "image"])
def test_a_patch_moves_every_token_of_its_image(architecture):
    """Images have no mask: one patch reaches class, register and patch tokens alike."""
    model = intact(architecture.name)
    inputs = architecture.inputs()
    changed = inputs["pixel_values"].clone()
    changed[..., :4, :4] += torch.randn(4, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    before = states_of(architecture, model, inputs)[1][0]
    after = states_of(architecture, model, {"pixel_values": changed})[1][0]

    assert ((after - before).abs().amax(-1) > 1e-4).all()


def test_a_decoder_reads_its_encoder():
    """Both stacks of an encoder-decoder model are alive."""
    architecture = ARCHITECTURES["bart"]
    model = intact(architecture.name)
    inputs = architecture.inputs()
    changed = {**inputs, "input_ids": inputs["input_ids"].flip(1)}

    with torch.no_grad():
        before, after = (model(**text).last_hidden_state for text in (inputs, changed))

    assert before.shape == (1, LENGTH - 2, 24)
    assert ((after - before).abs().amax(-1) > 1e-4).all()


@with_heads
def test_attention_is_neither_uniform_nor_one_hot(architecture):
    """A uniform softmax has no gradient worth testing through its keys; a saturated one has none at all."""
    for weights in attention_of(architecture, architecture.inputs()):
        weights = weights[0]
        n_reached = (weights > 0).sum(-1)
        entropy = torch.special.entr(weights).sum(-1)

        share = (entropy / n_reached.log())[n_reached > 2]  # 0: one-hot, 1: uniform; sinks lower it

        assert 0.25 < share.mean() < 0.97
        assert weights.std() > 0.03


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt_oss", "bart", "beit"])
def test_one_missing_ingredient_changes_the_states(name):
    """Window, cap, sinks, mask and position bias are strong enough for a test to miss them."""
    architecture = ARCHITECTURES[name]
    crippled = architecture.build()
    inputs, lesser = architecture.inputs(), architecture.inputs()
    with torch.no_grad():
        match name:
            case "mistral":
                crippled.config.sliding_window = None
            case "gemma2":
                for layer in crippled.layers:
                    layer.self_attn.attn_logit_softcapping = None
            case "gpt_oss":
                for layer in crippled.layers:
                    layer.self_attn.sinks.fill_(-100.0)
            case "bart":
                lesser["attention_mask"][0, -1] = 0
            case "beit":
                for layer in crippled.layers:
                    layer.relative_position_bias.relative_position_bias_table.zero_()

    difference = states_of(architecture, intact(name), inputs)[-1] - states_of(architecture, crippled, lesser)[-1]

    assert difference.abs().max() > 0.05


def reference_norm(module: nn.Module, states: Tensor) -> Tensor:
    """What each family's norm says it computes, from its name alone."""
    name = type(module).__name__
    eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None) or 1e-5  # OLMo's is in its code
    weight = getattr(module, "weight", torch.tensor(1.0, dtype=torch.float64))
    bias = getattr(module, "bias", None)
    if "RMSNorm" not in name and name != "T5LayerNorm":
        states = states - states.mean(-1, keepdim=True)
    states = states / (states.square().mean(-1, keepdim=True) + eps).sqrt()
    return states * (1 + weight if name.startswith("Gemma") else weight) + (0 if bias is None else bias)


@pytest.mark.parametrize(
    "name",
    ["llama", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "gpt_oss", "cohere", "t5", "deberta", "glm", "mamba"],
)
def test_full_precision_norms_equal_their_formula(name):
    """The norms change their precision and nothing else: 1 + w stays 1 + w."""
    architecture = ARCHITECTURES[name]
    rounding = intact(name)
    exact = full_precision_norms(architecture.build())
    norms = [
        (module, exact.get_submodule(path))
        for path, module in rounding.named_modules()
        if "Norm" in type(module).__name__ and type(module) is not nn.LayerNorm
    ]

    assert norms
    for rounded, double in norms:
        shape = getattr(double, "weight", torch.empty(24)).shape
        states = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert_close(double(states), reference_norm(double, states), rtol=1e-13, atol=1e-14)  # a few roundings
        assert_close(double(states), rounded(states), rtol=0, atol=2e-6)  # float32 rounds values up to 10


@every_architecture
def test_full_precision_changes_a_model_by_single_precision_rounding_at_most(architecture):
    """The exact twin stands in for the model in tests of 1e-9, so it must be the same model."""
    inputs = architecture.inputs()

    model = states_of(architecture, intact(architecture.name), inputs)
    twin = states_of(architecture, full_precision(architecture.build()), inputs)

    assert_close(twin, model, rtol=0, atol=3e-5)  # 1e-7 of states up to 10, through three blocks


@every_architecture
def test_full_precision_makes_a_model_smooth(architecture):
    """Central differences feel every rounding: with step 1e-4, single precision would leave errors near 1e-3."""
    model = full_precision(architecture.build())
    inputs = architecture.inputs()
    inputs.pop("input_ids", None)
    generator = torch.Generator().manual_seed(3)
    if architecture.kind == "image":
        entrance, start = "pixel_values", inputs["pixel_values"]
    else:
        shape = (1, LENGTH, model.get_input_embeddings().embedding_dim)
        entrance, start = "inputs_embeds", torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    step = 1e-4

    def readout(point: Tensor) -> Tensor:
        states = model(**{**inputs, entrance: point}).last_hidden_state
        weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        return (weights * states).sum()

    point = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(readout(point), point)
    with torch.no_grad():
        difference = (readout(start + step * direction) - readout(start - step * direction)) / (2 * step)

    # truncation is step**2 times a third derivative of order 10 to 100
    assert_close((gradient * direction).sum(), difference, rtol=1e-5, atol=1e-5)


def test_a_copied_full_precision_model_uses_its_own_weights():
    """A replaced forward that remembers its first owner would compute with the wrong weights."""
    original = full_precision(ARCHITECTURES["llama"].build())
    states = torch.randn(2, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    duplicate = copy.deepcopy(original)
    with torch.no_grad():
        duplicate.norm.weight.mul_(2)

    assert_close(duplicate.norm(states), 2 * original.norm(states))
