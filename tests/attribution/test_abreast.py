"""Layers that are computed abreast, as on a GPU: the same numbers as one by one, in the launches of one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from numpy.testing import assert_allclose
from tests.kit.architectures import ARCHITECTURES, full_precision
from tests.kit.wide import mostly_wide

import lignite
from lignite.attribution import abreast
from lignite.attribution.trial import TRIAL_TOLERANCE
from lignite.blocks import fitting
from lignite.errors import SplitError


@pytest.fixture
def groups(monkeypatch):
    """Sizes of the groups that have gone abreast, here on a CPU, without layers that were computed by themselves."""
    sizes, first, finished = [], abreast._Group._first, abreast._Group.finished

    def noted(group, rows):
        found = first(group, rows)
        sizes.append(len(group.layers))
        return found

    def counted(group, alone):
        def by_itself(laid):
            if sizes and len(group.layers) > 1:
                sizes[-1] -= 1
            return alone(laid)

        return finished(group, by_itself)

    monkeypatch.setattr(abreast, "ABREAST", ("cpu",))
    monkeypatch.setattr(abreast._Group, "_first", noted)
    monkeypatch.setattr(abreast._Group, "finished", counted)
    return sizes


def flows(model, inputs, monkeypatch, **options):
    """Abreast, and one by one."""
    together = lignite.flow(model, inputs, **options)
    monkeypatch.setattr(abreast, "ABREAST", ())
    return together, lignite.flow(model, inputs, **options)


def assert_same(one, other, rounding=1e-9):
    for name in one.data_vars:
        found, expected = one[name].values, other[name].values
        if expected.dtype.kind == "f":
            of_map = [each for each in other.data_vars if each.startswith(name.split("_")[0]) and "_gap" not in each]
            scale = max(float(np.nanmax(abs(other[each].values))) for each in of_map)
            assert_allclose(found, expected, rtol=0, atol=rounding * scale, err_msg=name)


FEW = ("bert", "gpt2", "llama", "qwen3", "gemma2")


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize(
    "name", mostly_wide([name for name in ARCHITECTURES if name != "mamba"], FEW)
)  # it has no heads
def test_layers_abreast_are_as_each_by_itself(name, groups, monkeypatch):
    """Post-norm, pre-norm, rotated and normed keys, soft caps, grouped keys; and with targets that need more nodes."""
    architecture = ARCHITECTURES[name]
    model, inputs = lignite.wrap(architecture.build(dtype=torch.float64)), architecture.inputs()

    together, alone = flows(model, inputs, monkeypatch, max_steps=30)

    assert name not in FEW or groups == [3]
    assert_same(together, alone)
    assert together.attrs["plans"] == alone.attrs["plans"]


@pytest.fixture
def asked(monkeypatch):
    """Numbers of layers and of targets that halves of panels were computed for."""
    sizes, inner = [], abreast._Group._halve

    def noted(group, found, name, rule, layers, targets):
        sizes.append((len(layers), len(targets)))
        return inner(group, found, name, rule, layers, targets)

    monkeypatch.setattr(abreast._Group, "_halve", noted)
    return sizes


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_shared_paths_abreast_are_as_each_by_itself(name, baseline, groups, asked, monkeypatch):
    """Panels are halved for all layers at once, or for some of them and of their targets, as each would by itself."""
    architecture = ARCHITECTURES[name]
    model, inputs = lignite.wrap(architecture.build(dtype=torch.float64)), architecture.inputs()
    options = {"maps": ("attention", "whole"), "detail": ("heads", "circuits"), "tol": 1e-7, "max_steps": 60}

    together, alone = flows(model, inputs, monkeypatch, baseline=baseline, **options)

    assert groups == [3]
    assert asked
    assert_same(together, alone)
    assert together.attrs["plans"] == alone.attrs["plans"]


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_only_what_wants_more_nodes_gets_them(groups, asked, monkeypatch):
    """Rounds go on for some of the layers and of the targets where others are content."""
    gpt2 = ARCHITECTURES["gpt2"]
    model, inputs = lignite.wrap(gpt2.build(dtype=torch.float64)), gpt2.inputs()

    together, alone = flows(model, inputs, monkeypatch, baseline="zero", maps="whole", tol=1e-6)

    assert groups == [3]
    n_layers, n_targets = zip(*asked, strict=True)
    assert min(n_layers) < max(n_layers) == 3
    assert min(n_targets) < max(n_targets)
    assert_same(together, alone)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_a_layer_says_what_it_missed_and_took(groups, monkeypatch):
    """Targets that did not converge, and nodes of a target on average, map by map."""
    gpt2, inner, said = ARCHITECTURES["gpt2"], abreast.attribute_layers, []

    def noted(*args, **options):
        for found in inner(*args, **options):
            said.append((found.missed, found.n_nodes))
            yield found

    monkeypatch.setattr("lignite.api.flow.attribute_layers", noted)
    model, inputs = lignite.wrap(gpt2.build(dtype=torch.float64)), gpt2.inputs()

    flows(model, inputs, monkeypatch, baseline="zero", maps=("attention", "whole"), tol=1e-6, max_steps=60)

    assert groups == [3]
    assert said[:3] == said[3:]
    assert any(missed["whole"] for missed, _ in said)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_a_path_that_starts_at_nothing_beside_others_that_do_not_goes_by_itself(groups, monkeypatch):
    """Its nodes are graded."""
    bert = ARCHITECTURES["bert"]
    network, inputs = bert.build(dtype=torch.float64), bert.inputs()
    model, d = lignite.wrap(network), network.config.hidden_size
    start = torch.randn(3, inputs["input_ids"].shape[1], d, generator=torch.Generator().manual_seed(1))
    start[1] = 0

    together, alone = flows(model, inputs, monkeypatch, baseline=start, maps="whole", n_steps=4)

    assert groups == [2]
    assert_same(together, alone)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"maps": "whole", "detail": ("heads", "circuits")},
        {"maps": "attention", "targets": (1, 5)},
        {"maps": ("mlp", "composed"), "composition": "conserving"},
        {"readout": "projection", "n_steps": 2},
        {"keep": "top:3"},
        {"baseline": "zero", "maps": "mlp"},
        {"self_term": "map_ratio"},
    ],
    ids=str,
)
def test_what_is_asked_for_is_the_same_abreast(options, groups, monkeypatch):
    """Details, some targets, other readouts; what cannot go abreast goes one by one."""
    bert = ARCHITECTURES["bert"]
    model, inputs = lignite.wrap(bert.build(dtype=torch.float64)), bert.inputs()

    together, alone = flows(model, inputs, monkeypatch, **options)

    assert bool(groups) == (not {"keep", "baseline", "self_term"} & set(options))
    assert_same(together, alone)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_a_block_that_computes_otherwise_is_found_by_its_trial(groups, monkeypatch):
    """Its tensors are alike, its code is not: the trial runs every block as the model does, and has the last word."""
    bert = ARCHITECTURES["bert"]
    network = bert.build(dtype=torch.float64)
    for layer, function in zip(network.encoder.layer, (nnf.relu, nnf.tanh, nnf.relu), strict=True):
        del layer.intermediate.intermediate_act_fn
        layer.intermediate.intermediate_act_fn = function

    together, alone = flows(lignite.wrap(network), bert.inputs(), monkeypatch, maps="whole", n_steps=4)

    assert groups == [2]
    assert_same(together, alone)


def test_a_block_that_chooses_by_its_values_goes_by_itself(groups, monkeypatch):
    """Experts are chosen token by token, which torch cannot lay side by side."""
    mixtral = ARCHITECTURES["mixtral"]
    model, inputs = lignite.wrap(mixtral.build(dtype=torch.float64)), mixtral.inputs()

    together, alone = flows(model, inputs, monkeypatch, maps="whole", tol=0.5)

    assert groups == []
    assert_same(together, alone)


@pytest.mark.parametrize(("memory", "sizes"), [("8 MB", [4]), ("4500 KB", [2, 2]), ("2 MB", [])])
def test_as_many_layers_go_abreast_as_fit(memory, sizes, groups, monkeypatch):
    """Each takes a copy of its weights and its first panels."""
    bert = ARCHITECTURES["bert"]
    architecture = replace(bert, config={**bert.config, "num_hidden_layers": 4})
    model, inputs = lignite.wrap(architecture.build(dtype=torch.float64)), architecture.inputs()

    together, alone = flows(model, inputs, monkeypatch, memory=memory, maps="whole", tol=0.5)

    assert groups == sizes
    assert json.loads(together.attrs["memory"])["taken"] <= json.loads(together.attrs["memory"])["budget"]
    assert_same(together, alone)


@pytest.mark.parametrize(
    ("memory", "tol", "sizes", "foreseen"),
    [
        ("32 MB", 1e-3, [4], True),
        ("16 MB", 1e-3, [4], False),
        ("8 MB", 1e-3, [2, 2], False),
        ("32 MB", 0.5, [4], False),
    ],
)
def test_halves_are_foreseen_where_they_are_wanted_and_fit(memory, tol, sizes, foreseen, groups, asked, monkeypatch):
    """From nothing first panels hardly suffice: their halves come with them, but not in the place of other layers."""
    bert = ARCHITECTURES["bert"]
    architecture = replace(bert, config={**bert.config, "num_hidden_layers": 4})
    model, inputs = lignite.wrap(architecture.build(dtype=torch.float64)), architecture.inputs()
    options, sure, inner = {"baseline": "zero", "maps": "whole", "tol": tol}, [], abreast.first_of
    monkeypatch.setattr(abreast, "first_of", lambda work, row: sure.append(work.foresees) or inner(work, row))

    together, alone = flows(model, inputs, monkeypatch, memory=memory, **options)

    assert groups == sizes
    assert sure == [foreseen] * len(sizes)
    assert bool(asked) == (tol == 1e-3 and not foreseen)
    assert json.loads(together.attrs["memory"])["taken"] <= json.loads(together.attrs["memory"])["budget"]
    assert_same(together, alone)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_a_closed_form_that_a_layer_does_not_have_is_not_taken_from_another(groups, monkeypatch):
    """OLMo clips keys and values, here one layer's alone, and so few that its trial does not meet them."""
    olmo = ARCHITECTURES["olmo"]
    network = full_precision(replace(olmo, config={**olmo.config, "clip_qkv": 3.0}).build(seed=2, dtype=torch.float64))
    for layer, factor in zip(network.layers, (0.2, 0.8, 0.2), strict=True):
        for part in (layer.self_attn.k_proj, layer.self_attn.v_proj):
            part.weight.data *= factor
    inputs = olmo.inputs(seed=2, length=6)

    together, alone = flows(lignite.wrap(network), inputs, monkeypatch, maps="whole", n_steps=2)

    assert groups == [2]
    assert json.loads(together.attrs["plans"])["1"] == "target-batches"
    assert_same(together, alone)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_layers_whose_target_stands_still_are_tried_at_another(groups, monkeypatch):
    """A decoder's first token sees itself alone: what its scores, all zero, agree with says nothing."""
    gpt2 = ARCHITECTURES["gpt2"]
    model, inputs = lignite.wrap(gpt2.build(dtype=torch.float64)), gpt2.inputs()

    together, alone = flows(model, inputs, monkeypatch, maps="whole", targets=(0, 3), n_steps=4)

    assert groups == [1]  # two of three layers have drawn the first token
    assert all(trial["whole"] > 0 for trial in json.loads(together.attrs["trials"]).values())
    assert_same(together, alone)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_what_is_not_finite_goes_by_itself(groups, monkeypatch):
    """There it is named, with its layer."""
    bert = ARCHITECTURES["bert"]
    first = abreast._Group._first

    def spoilt(group, rows):
        found = first(group, rows)
        found["sums"][1, 0] = torch.nan
        return found

    monkeypatch.setattr(abreast._Group, "_first", spoilt)
    inputs = bert.inputs()

    lignite.flow(lignite.wrap(bert.build(dtype=torch.float64)), inputs, maps="whole", n_steps=4)

    assert groups == [2]


def test_alike_are_tensors_of_one_shape_and_settings_that_are_equal():
    """A window or a flag that differs is another computation; True is not 1."""
    one, other = torch.zeros(2, 3), torch.ones(2, 3)

    assert abreast._alike(one, other)
    assert abreast._alike("sdpa", "sdpa")
    for first, second in ((one, other.T), (one, other.double()), (2, 3), (1, True), (one, None), ([2], [2])):
        assert not abreast._alike(first, second)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", mostly_wide(["bert", "gpt2", "llama", "qwen3", "gemma2"], ["llama"]))
def test_weights_of_half_precision_are_widened_abreast(name, dtype, groups, monkeypatch):
    """As block by block: what is computed in is float32, and so is the rounding of two orders of summation."""
    architecture = ARCHITECTURES[name]
    model, inputs = lignite.wrap(architecture.build(dtype=dtype)), architecture.inputs()

    together, alone = flows(model, inputs, monkeypatch, n_steps=4)

    assert groups == [3]
    assert_same(together, alone, rounding=TRIAL_TOLERANCE[torch.float32])


def test_a_block_of_half_precision_that_does_not_say_again_what_it_said_is_refused(groups, monkeypatch):
    """Of float32 the recorded output is taken as it is; a rounded one is computed anew, and compared."""
    bert = ARCHITECTURES["bert"]
    recorded = fitting.record

    def spoilt(network, tensors):
        calls = recorded(network, tensors)
        calls[1] = replace(calls[1], output=calls[1].output * 1.5)
        return calls

    monkeypatch.setattr(fitting, "record", spoilt)

    with pytest.raises(SplitError, match=r"Layer 1 .*differs from the block"):
        lignite.flow(lignite.wrap(bert.build(dtype=torch.bfloat16)), bert.inputs(), maps="whole", n_steps=4)

    assert groups == [2]


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1), (torch.bfloat16, 1.5)], ids=str)
def test_widened_weights_are_in_what_a_layer_takes(dtype, share, groups, monkeypatch):
    """Half as much is stacked, and all of it once more in float32."""
    bert = ARCHITECTURES["bert"]
    taken, took = [], abreast._Group.takes

    def noted(group, laid):
        taken.append(group.copied)
        return took(group, laid)

    monkeypatch.setattr(abreast._Group, "takes", noted)
    network = bert.build(dtype=dtype)
    weights = sum(weight.numel() * 4 for weight in network.encoder.layer[0].parameters())

    lignite.flow(lignite.wrap(network), bert.inputs(), maps="whole", tol=0.5)

    assert share * weights <= taken[0] <= 1.2 * share * weights  # states and masks beside
