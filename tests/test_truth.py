"""Every fast plan returns what the definition does, on the model's own eager blocks, at the same nodes.

Nodes are few on purpose: two plans agree at any node or at none, whether the integral has converged or not.
"""

import functools
from dataclasses import replace

import pytest
import torch
from tests.kit.architectures import ARCHITECTURES, Architecture, full_precision
from tests.kit.definition import Definition, EagerBlock, eager_blocks, eager_network
from tests.kit.tiny_tokenizers import word_piece
from tests.kit.wide import mostly_wide
from torch import Tensor
from torch.testing import assert_close

import lignite

pytestmark = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")

N_STEPS = 3
LENGTH = 7
LAYER = 1
DOUBLE = 1e-9  # promised; fast and slow plans add the same numbers in another order and differ by 1e-15 to 1e-13
SINGLE = 1e-4  # promised; float32 rounds to 6e-8, and Gram matrices and softmax lose two to three digits

FAMILIES = {
    "bert": "linear, from biases; padding",
    "modernbert": "LayerNorm; rotary positions; a window to both sides",
    "t5": "RMSNorm; position bias; scores that are not scaled",
    "bart": "two stacks",
    "gpt2": "LayerNorm; causal; fused projections",
    "gpt_neox": "parallel residual; partial rotary positions",
    "gpt_bigcode": "one key and value for all heads",
    "mistral": "RMSNorm; grouped queries; window",
    "qwen3": "norms of queries and keys",
    "olmo2": "linear, then a norm across the keys of all heads",
    "olmo": "clipped projections: target batches",
    "deepseek_v3": "values of another size than keys: target batches",
    "gemma2": "soft cap",
    "gpt_oss": "sinks; rotary positions that scale",
    "dinov2": "image; layer scales",
    "beit": "image; position bias in the mask",
    "dinov3_vit": "image; positions for patches alone",
    "deberta-v2": "projection route; relative positions in keys and queries",
    "bloom": "projection route; distance bias",
    "falcon-grouped": "projection route; grouped queries, parallel residual",
    "mamba": "no heads",
}
"""One family at least for every ingredient that a plan could get wrong; the battery has them all, in less detail."""

COMMON = ("bert", "modernbert", "t5", "gpt2", "gpt_oss", "beit", "deberta-v2", "bloom")
"""Those that run by default where a test tries all of them; the rest run with the sweeps."""

DIVERSE = ("bert", "gpt_oss", "deberta-v2")
"""Closed form and shared path, without and with everything that may enter a softmax; and the projection route."""


@functools.cache
def truth_of(name: str) -> tuple[EagerBlock, ...]:
    architecture = ARCHITECTURES[name]
    return tuple(eager_blocks(architecture, eager_network(architecture), inputs_of(architecture)))


@functools.cache
def model_of(name: str, dtype: torch.dtype = torch.float64) -> lignite.Model:
    network = ARCHITECTURES[name].build(seed=0, dtype=dtype)
    return lignite.wrap(full_precision(network) if dtype == torch.float64 else network)


def inputs_of(architecture: Architecture) -> dict[str, Tensor]:
    return architecture.inputs(seed=1, length=LENGTH)


def flow_of(name: str, **options):
    """A run of the engine in double precision at few nodes, of the layer that `truth_of` knows."""
    options = {"layers": LAYER, "n_steps": N_STEPS} | options
    return lignite.flow(model_of(name), inputs_of(ARCHITECTURES[name]), **options)


def definition_of(name: str, *, targets, baseline: Tensor | None = None, readout: str = "displacement", layer=LAYER):
    return Definition(truth_of(name)[layer], baseline, targets, N_STEPS, readout)


def zeros(name: str) -> Tensor:
    return torch.zeros_like(truth_of(name)[LAYER].states)


def assert_same_map(flow, variable: str, truth: Tensor, displacement: Tensor | None = None, *, tolerance=DOUBLE):
    """Relative to the largest score of the map, or to its largest displacement where all scores are smaller still."""
    scores = torch.tensor(flow[variable].isel(layer=0).values)
    moved = f"{variable}_displacement"
    if moved in flow:
        sizes = torch.tensor(flow[moved].isel(layer=0).values)
    else:
        sizes = scores
    if variable.startswith("attention"):  # the Dataset has heads before targets, the definition targets before heads
        truth, displacement = truth.mT if truth.ndim == 2 else truth.transpose(0, 1), displacement.T
    scale = float(torch.maximum(truth.abs().max(), sizes.abs().max()))
    assert_close(scores.double(), truth, rtol=0, atol=tolerance * scale)
    if displacement is not None:
        assert_close(sizes.double(), displacement, rtol=0, atol=tolerance * float(displacement.abs().max()))
        gap = torch.tensor(flow[f"{variable}_gap"].isel(layer=0).values).double()
        assert_close(gap, truth.sum(-1) - displacement, rtol=0, atol=len(truth) * tolerance * scale)


def assert_same_maps(flow, definition: Definition, *, mlp_from_zero=False, composition="product", tolerance=DOUBLE):
    """All four maps: two halves, their composition, and the whole."""
    assert_same_map(flow, "whole", *definition.whole(), tolerance=tolerance)
    attention, moved = definition.attention()
    mlp, total = definition.mlp(from_zero=mlp_from_zero)
    assert_same_map(flow, "attention", attention, moved, tolerance=tolerance)
    assert_same_map(flow, "mlp", mlp, total, tolerance=tolerance)
    composed, expected = composed_of(attention, moved, mlp, definition.targets, conserving=composition == "conserving")
    assert_same_map(flow, "composed", composed, expected, tolerance=tolerance)


def composed_of(attention: Tensor, moved: Tensor, mlp: Tensor, targets, *, conserving=False) -> tuple[Tensor, Tensor]:
    """Source to head, head to target, with loops; and the sum that completeness asks for."""
    composed = torch.zeros(len(targets), attention.shape[-1], dtype=torch.float64)
    expected = torch.zeros(len(targets), dtype=torch.float64)
    for row, target in enumerate(targets):
        for head in range(attention.shape[1]):
            scores, size = attention[row, head], moved[row, head]
            if conserving and size == 0:  # a head that has not moved got everything from its target
                scores, size = torch.nn.functional.one_hot(torch.tensor(target), len(scores)).double(), 1.0
            elif conserving:
                scores, size = scores / size, 1.0
            composed[row] += scores * mlp[row, head]
            expected[row] += size * mlp[row, head]
    return composed, expected


# Families


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", mostly_wide([name for name in FAMILIES if name != "mamba"], COMMON))
def test_maps_of_every_kind_of_block_equal_the_definition(name, baseline):
    """Masks, windows, positions, groups, caps, sinks and norms change how a map is computed, never what it is."""
    targets = (1, LENGTH - 1)

    flow = flow_of(name, baseline=baseline, targets=targets)

    start = None if baseline == "target_token" else zeros(name)
    assert_same_maps(flow, definition_of(name, targets=targets, baseline=start))


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
def test_a_block_without_heads_still_has_its_whole_map(baseline):
    """A state space offers no split, but the definition needs none."""
    targets = (1, LENGTH - 1)

    flow = flow_of("mamba", baseline=baseline, targets=targets, maps="whole")

    start = None if baseline == "target_token" else zeros("mamba")
    assert_same_map(flow, "whole", *definition_of("mamba", targets=targets, baseline=start).whole())


@pytest.mark.parametrize("name", ["bert", "gemma2"])
def test_every_target_of_every_layer_has_its_own_row(name):
    """A target or layer that borrows its neighbour's path would pass a test of one row of one layer."""
    targets = range(LENGTH)

    flow = lignite.flow(model_of(name), inputs_of(ARCHITECTURES[name]), maps="whole", n_steps=N_STEPS)

    for layer in flow.layer.values:
        assert_same_map(
            flow.sel(layer=[layer]), "whole", *definition_of(name, targets=targets, layer=int(layer)).whole()
        )


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen3", "gpt_oss", "deberta-v2"])
def test_single_precision_is_exact_to_four_digits(name, baseline):
    """The default precision: held to the definition in double precision, with the same rounded weights."""
    architecture, targets = ARCHITECTURES[name], (1, LENGTH - 1)
    network = eager_network(architecture, dtype=torch.float32)
    block = eager_blocks(architecture, network, inputs_of(architecture))[LAYER]

    flow = lignite.flow(
        model_of(name, torch.float32), inputs_of(architecture), layers=LAYER, targets=targets, baseline=baseline,
        n_steps=N_STEPS,
    )  # fmt: skip

    start = None if baseline == "target_token" else zeros(name)
    assert flow.whole.dtype == "float32"
    assert_same_maps(flow, Definition(block, start, targets, N_STEPS), tolerance=SINGLE)


# Plans


@pytest.mark.parametrize(
    ("name", "baseline", "plan"),
    [
        ("bert", "target_token", "closed-form"),
        ("bert", "target_token", "target-batches"),
        ("bert", "target_token", "definition"),
        ("bert", "zero", "shared"),
        ("bert", "zero", "definition"),
        ("gpt_oss", "target_token", "closed-form"),
        ("gpt_oss", "target_token", "target-batches"),
        ("gpt_oss", "zero", "definition"),
    ],
)
def test_a_plan_that_is_asked_for_equals_the_definition(name, baseline, plan):
    """Plans differ in price alone; a user who doubts one can ask for another."""
    targets = (2, LENGTH - 1)

    flow = flow_of(name, baseline=baseline, plan=plan, targets=targets, maps=("attention", "whole"))

    definition = definition_of(name, targets=targets, baseline=None if baseline == "target_token" else zeros(name))
    assert plan in flow.attrs["plans"]
    assert_same_map(flow, "attention", *definition.attention())
    assert_same_map(flow, "whole", *definition.whole())


# Baselines


@pytest.mark.parametrize("name", DIVERSE)
def test_the_mean_baseline_starts_at_the_layers_mean_state(name):
    """The plain mean over the tokens of the layer that is explained."""
    targets = (1, LENGTH - 1)
    states = truth_of(name)[LAYER].states
    mean = torch.stack([states[:, channel].sum() / LENGTH for channel in range(states.shape[1])])

    flow = flow_of(name, baseline="mean", targets=targets)

    assert_same_maps(flow, definition_of(name, targets=targets, baseline=mean.expand_as(states)))


@pytest.mark.parametrize("shape", ["vector", "one per token", "one per layer and token"])
def test_a_baseline_of_ones_own_is_taken_as_it_is(shape):
    """Any reference state can be asked about, the same for all or not."""
    targets = (1, LENGTH - 1)
    states = torch.randn(3, LENGTH, 24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    given = {"vector": states[LAYER, 0], "one per token": states[LAYER], "one per layer and token": states}[shape]

    flow = flow_of("gpt_oss", baseline=given, targets=targets)

    start = states[LAYER, 0].expand(LENGTH, -1) if shape == "vector" else states[LAYER]
    assert_same_maps(flow, definition_of("gpt_oss", targets=targets, baseline=start))


@pytest.mark.parametrize("baseline", ["pad", "mask"])
def test_a_token_baseline_is_the_state_of_a_text_of_that_token(baseline):
    """The model itself says what a text without content looks like in each layer; special tokens stay."""
    tokenizer = word_piece()
    wide = replace(
        ARCHITECTURES["bert"], config={**ARCHITECTURES["bert"].config, "vocab_size": len(tokenizer), "pad_token_id": 0}
    )
    model = lignite.wrap(full_precision(wide.build()), tokenizer)
    network, encoding = eager_network(wide), tokenizer("the plot was thin", return_tensors="pt")
    token = {"pad": tokenizer.pad_token_id, "mask": tokenizer.mask_token_id}[baseline]
    empty = encoding.input_ids.clone()
    empty[0, 1:-1] = token
    start = network(**{**encoding, "input_ids": empty}, output_hidden_states=True).hidden_states[LAYER][0]

    flow = lignite.flow(model, "the plot was thin", baseline=baseline, layers=LAYER, n_steps=N_STEPS)

    block = eager_blocks(wide, network, encoding)[LAYER]
    targets = range(encoding.input_ids.shape[1])
    assert_same_maps(flow, Definition(block, start, targets, N_STEPS))


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", DIVERSE)
def test_the_mlp_map_may_start_from_silent_heads(name, baseline):
    """`mlp_baseline="zero"` asks what the heads give beyond nothing, whatever the path of the states."""
    targets = (0, LENGTH - 1)

    flow = flow_of(name, baseline=baseline, mlp_baseline="zero", targets=targets)

    start = None if baseline == "target_token" else zeros(name)
    assert_same_maps(flow, definition_of(name, targets=targets, baseline=start), mlp_from_zero=True)


# Readouts and compositions


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", DIVERSE)
def test_the_projection_readout_equals_the_definition(name, baseline):
    """A readout along the total change has another gradient at every node."""
    targets = (1, LENGTH - 1)

    flow = flow_of(name, baseline=baseline, readout="projection", targets=targets)

    start = None if baseline == "target_token" else zeros(name)
    assert_same_maps(flow, definition_of(name, targets=targets, baseline=start, readout="projection"))


@pytest.mark.parametrize("mlp_baseline", ["attention_start", "zero"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_oss", "deberta-v2", "bloom"])
def test_the_conserving_composition_divides_each_head_by_its_displacement(name, mlp_baseline):
    """Shares of a head times what the head gives; the first token of a causal model has heads that never move."""
    targets = (0, LENGTH - 1)

    flow = flow_of(name, composition="conserving", mlp_baseline=mlp_baseline, targets=targets)

    definition = definition_of(name, targets=targets)
    assert_same_maps(flow, definition, mlp_from_zero=mlp_baseline == "zero", composition="conserving")


@pytest.mark.parametrize("name", ["bert", "gemma2", "deberta-v2"])
def test_conserving_scores_sum_to_those_of_the_mlp_map(name):
    """What the name promises, once the attention map has converged."""
    tol = 1e-5

    flow = flow_of(name, composition="conserving", n_steps=None, tol=tol)

    assert_close(
        torch.tensor(flow.composed.sum("source").values),
        torch.tensor(flow.mlp.sum("head").values),
        rtol=0,
        atol=tol * float(abs(flow.mlp).sum("head").max()),  # a head's shares may miss one by the tolerance of its map
    )


# Self terms


def with_own_share(scores: Tensor, ratio: Tensor, targets) -> Tensor:
    """DESIGN's words: self is `ratio` times the others' sum, then the row is scaled back to the sum it had."""
    completed = scores.clone()
    for row, target in enumerate(targets):
        total = scores[row].sum(-1)
        others = total - scores[row][..., target]
        completed[row][..., target] = ratio[row] * others
        completed[row] *= (total / completed[row].sum(-1))[..., None]
    return completed


@pytest.mark.parametrize("self_term", ["zero_ratio", "map_ratio"])
@pytest.mark.parametrize("name", ["bert", "gpt_oss"])
def test_a_self_term_completes_the_diagonal_and_keeps_the_sum(name, self_term):
    """The target-token path leaves the diagonal empty: its filling follows from a zero-baseline run or the weights."""
    targets = (1, 4, LENGTH - 1)
    rows = torch.arange(len(targets))
    definition = definition_of(name, targets=targets)
    (attention, moved), (whole, displacement) = definition.attention(), definition.whole()
    if self_term == "zero_ratio":
        from_zero = definition_of(name, targets=targets, baseline=zeros(name))
        by_head, by_block = (map_()[0] for map_ in (from_zero.attention, from_zero.whole))
        own = by_head[rows, :, targets]
        head_ratio = own / (by_head.sum(-1) - own)
        ratio = by_block[rows, targets] / (by_block.sum(-1) - by_block[rows, targets])
    else:
        network = eager_network(ARCHITECTURES[name])
        weights = network(**inputs_of(ARCHITECTURES[name]), output_attentions=True).attentions[LAYER][0]
        own = weights[:, targets, targets].T
        head_ratio, ratio = own / (1 - own), own.mean(1) / (1 - own.mean(1))

    flow = flow_of(name, self_term=self_term, targets=targets)

    attention = with_own_share(attention, head_ratio, targets)
    assert_same_map(flow, "whole", with_own_share(whole, ratio, targets), displacement)
    assert_same_map(flow, "attention", attention, moved)
    assert_same_map(flow, "composed", *composed_of(attention, moved, definition.mlp()[0], targets))


@pytest.mark.parametrize("name", DIVERSE)
def test_a_measured_self_term_is_zero(name):
    """A source that starts where it ends gives nothing."""
    flow = flow_of(name, maps=("attention", "whole"))

    for variable in ("attention", "whole"):
        own = flow[variable].values.diagonal(axis1=-2, axis2=-1)
        assert abs(own).max() <= 1e-14 * abs(flow[variable].values).max()  # a difference of equal numbers


# Details


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", DIVERSE)
def test_the_split_by_head_is_what_passes_each_head(name, baseline):
    """A head's part is the gradient with the other heads held; the rest is the residual stream."""
    targets = (1, LENGTH - 1)
    start = None if baseline == "target_token" else zeros(name)

    flow = flow_of(name, baseline=baseline, maps="whole", detail="heads", targets=targets)

    heads, residual = definition_of(name, targets=targets, baseline=start).heads()
    scale = float(heads.abs().max())
    measured = torch.tensor(flow.whole_heads.isel(layer=0).values).transpose(0, 1)
    assert_close(measured, heads, rtol=0, atol=DOUBLE * scale)
    own = torch.zeros_like(residual)
    own[torch.arange(len(targets)), list(targets)] = torch.tensor(flow.whole_residual.isel(layer=0).values)
    assert_close(own, residual, rtol=0, atol=DOUBLE * scale)


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize(
    ("name", "projections"),
    [
        ("bert", {part: f"attention.self.{part}" for part in ("query", "key", "value")}),
        ("qwen3", {part: f"self_attn.{part[0]}_proj" for part in ("query", "key", "value")}),
        ("gpt_oss", {part: f"self_attn.{part[0]}_proj" for part in ("query", "key", "value")}),
        ("t5", {part: f"layer.0.SelfAttention.{part[0]}" for part in ("query", "key", "value")}),
    ],
)
def test_the_split_by_circuit_is_what_passes_each_projection(name, projections, baseline):
    """A circuit's part is the gradient with the other projections stopped: value, key, query; the rest is residual."""
    targets = (1, LENGTH - 1)
    start = None if baseline == "target_token" else zeros(name)

    flow = flow_of(name, baseline=baseline, maps="whole", detail="circuits", targets=targets)

    parts = definition_of(name, targets=targets, baseline=start).circuits(**projections)
    scale = max(float(part.abs().max()) for part in parts.values())
    for circuit, part in parts.items():
        measured = torch.tensor(flow.whole_circuits.sel(circuit=circuit).isel(layer=0).values)
        assert_close(measured, part, rtol=0, atol=DOUBLE * scale, msg=lambda text, c=circuit: f"{c}: {text}")


# Padding


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("baseline", ["target_token", "zero", "mean"])
@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2"])
def test_padding_gives_nothing_and_changes_nothing_else(name, baseline, side):
    """A padded row is explained as the model reads it: padding is masked, left out, and no part of a mean."""
    architecture = ARCHITECTURES[name]
    inputs = inputs_of(architecture)
    kept = slice(2, None) if side == "left" else slice(0, LENGTH - 2)
    padding = slice(0, 2) if side == "left" else slice(LENGTH - 2, None)
    inputs["attention_mask"][0, padding] = 0
    inputs["input_ids"][0, padding] = 0
    network = eager_network(architecture)
    block = eager_blocks(architecture, network, inputs)[LAYER]  # positions are the model's own to count
    targets = (3, 4)

    flow = lignite.flow(
        model_of(name), inputs, layers=LAYER, targets=targets, baseline=baseline, n_steps=N_STEPS,
        maps=("attention", "whole"),
    )  # fmt: skip

    starts = {"target_token": None, "zero": 0 * block.states, "mean": block.states[kept].mean(0).expand(LENGTH, -1)}
    definition = Definition(block, starts[baseline], targets, N_STEPS)
    (attention, moved), (whole, displacement) = definition.attention(), definition.whole()
    assert list(flow.source.values) == list(range(LENGTH))[kept]
    assert float(whole[:, padding].abs().max()) == 0
    assert_same_map(flow, "whole", whole[:, kept], displacement)
    assert_same_map(flow, "attention", attention[..., kept], moved)
