"""A model is bit-identical after a run, however the run ended: it belongs to the user."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
import torch
from tests.kit.architectures import ARCHITECTURES
from tests.kit.definition import Definition, eager_blocks, eager_network
from tests.kit.snapshots import Interruption, snapshot
from tests.kit.wide import mostly_wide, wide
from torch import nn
from torch.testing import assert_close

import lignite
from lignite.errors import OptionError

pytestmark = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")

DIVERSE = ("bert", "t5", "deberta-v2", "mamba", "vit", *wide("gpt_oss", "falcon-rotary"))


def lived_in(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model in the middle of its life: partly training, partly frozen, with gradients and a hook of the user's."""
    network = ARCHITECTURES[name].build(dtype=dtype)
    for number, module in enumerate(network.modules()):
        module.training = number % 3 == 0
    for number, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        if number % 4 == 0:
            parameter.grad = torch.full_like(parameter, 0.5)
    network.get_submodule(ARCHITECTURES[name].blocks)[0].register_forward_hook(lambda *_: None)
    return network


def inputs_of(name: str) -> dict[str, torch.Tensor]:
    inputs = ARCHITECTURES[name].inputs(length=6)
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in inputs.items()}


def run(network: nn.Module, name: str, **options):
    maps = "whole" if name == "mamba" else ("attention", "mlp", "whole", "composed")
    return lignite.flow(lignite.wrap(network), inputs_of(name), **({"n_steps": 1, "maps": maps} | options))


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", DIVERSE)
def test_a_run_leaves_the_model_as_it_was(name, baseline):
    """Weights, buffers, gradients, flags, hooks and configurations, whatever route a block is divided by."""
    network = lived_in(name)
    before = snapshot(network)

    run(network, name, baseline=baseline)

    before.assert_equal(snapshot(network))


@pytest.mark.parametrize(
    ("name", "call", "error"),
    mostly_wide(
        product(["bert", "deberta-v2"], [1, 2, 4, 7, 15, 40], [Interruption, KeyboardInterrupt, MemoryError]),
        [
            *(("bert", call, KeyboardInterrupt) for call in (1, 4, 15)),
            ("deberta-v2", 2, Interruption),
            ("bert", 7, MemoryError),
        ],
    ),
)
def test_an_interrupted_run_leaves_the_model_as_it_was(name, call, error):
    """Ctrl-C while recording, dividing or integrating; an error in a user's own hook."""
    network = lived_in(name)
    count = 0

    def interrupt(*_):
        nonlocal count
        count += 1
        if count == call:
            raise error

    network.get_submodule(ARCHITECTURES[name].blocks)[1].register_forward_pre_hook(interrupt)
    before = snapshot(network)

    with pytest.raises(error):
        run(network, name, n_steps=4, memory="1 kB")  # in small pieces, so that there are many calls

    before.assert_equal(snapshot(network))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deberta-v2", {"detail": "circuits"}),
        ("mamba", {"maps": "attention"}),
        ("bert", {"targets": 99}),
        ("bert", {"baseline": torch.zeros(7)}),
        ("olmo", {"plan": "closed-form"}),
    ],
)
def test_a_refused_run_leaves_the_model_as_it_was(name, options):
    """Options that only the blocks can refuse are refused in the middle of a run."""
    network = lived_in(name)
    before = snapshot(network)

    with pytest.raises(OptionError):
        run(network, name, **options)

    before.assert_equal(snapshot(network))


def test_a_hook_of_the_users_sees_a_model_that_is_not_training():
    """Dropout would make every node see another model."""
    network = lived_in("bert")
    seen = []
    network.encoder.layer[1].register_forward_hook(
        lambda module, *_: seen.append(any(m.training for m in module.modules()))
    )

    run(network, "bert")

    assert seen
    assert not any(seen)


@pytest.mark.parametrize("name", ["bert", "mistral", "beit", *wide("gpt2", "qwen3", "bart")])
@pytest.mark.parametrize("baseline", ["target_token", "zero"])
def test_a_flow_does_not_depend_on_the_attention_a_model_was_loaded_with(name, baseline):
    """They are the same function, sdpa and eager attention."""
    flows = []
    for implementation in ("sdpa", "eager"):
        network = ARCHITECTURES[name].build()
        network.set_attn_implementation(implementation)
        inputs = ARCHITECTURES[name].inputs(length=6)
        flows.append(lignite.flow(lignite.wrap(network), inputs, baseline=baseline, n_steps=4))
        assert network.config._attn_implementation == implementation

    for variable in flows[0].data_vars:
        sdpa, eager = (torch.tensor(flow[variable].values) for flow in flows)
        scale = float(flows[0][f"{variable.split('_')[0]}_displacement"].max())
        # eager softmax and some norms round float64 models to float32
        assert_close(sdpa, eager, rtol=0, atol=1e-6 * scale, msg=lambda text, name=variable: f"{name}: {text}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_half_precision_model_is_explained_in_single_precision(name, dtype):
    """Its weights and states are taken as they are, the integral is not rounded, and it stays half."""
    architecture, targets = ARCHITECTURES[name], (1, 5)
    network = architecture.build(dtype=dtype)
    before, states = snapshot(network), []
    handle = network.get_submodule(architecture.blocks)[1].register_forward_pre_hook(
        lambda _, inputs: states.append(inputs[0][0].double())
    )
    with torch.no_grad():
        network(**inputs_of(name))
    handle.remove()

    flow = lignite.flow(
        lignite.wrap(network), inputs_of(name), layers=1, targets=targets, n_steps=4, maps=("attention", "whole")
    )

    before.assert_equal(snapshot(network))
    blocks = eager_blocks(architecture, eager_network(architecture, dtype=dtype), inputs_of(name))
    definition = Definition(replace(blocks[1], states=states[0]), None, targets, 4)
    expected, displacement = definition.whole()
    scale = float(expected.abs().max())
    assert flow.whole.dtype == "float32"
    assert_close(torch.tensor(flow.whole.values[0]).double(), expected, rtol=0, atol=1e-4 * scale)
    assert_close(torch.tensor(flow.whole_displacement.values[0]).double(), displacement, rtol=1e-4, atol=0)
    attention = torch.tensor(flow.attention.values[0]).double().transpose(0, 1)
    assert_close(attention, definition.attention()[0], rtol=0, atol=1e-4 * scale)


@pytest.mark.filterwarnings("error::lignite.errors.GapWarning")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bert", "mamba"])
def test_a_half_precision_model_converges_as_others_do(name, dtype):
    """What is rounded to half precision leaves a gap that no node closes: an end of the path, or the block within,
    whose weights are half where Mamba carries its states in float32.
    """
    network = ARCHITECTURES[name].build(dtype=dtype)

    flow = lignite.flow(lignite.wrap(network), inputs_of(name), maps="whole")

    assert abs(flow.whole_gap).max() <= 1e-3 * flow.whole_displacement.max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "plan"), [("bert", "closed-form (linear)"), ("llama", "closed-form (RMSNorm)")])
def test_a_half_precision_model_is_taken_apart_as_others_are(name, plan, dtype):
    """Its copy in float32 is split. Held to its own rounded output, that would lose circuits and its fast plan."""
    network = ARCHITECTURES[name].build(dtype=dtype)

    flow = lignite.flow(
        lignite.wrap(network), inputs_of(name), layers=1, maps="whole", detail=("heads", "circuits"), n_steps=2
    )

    assert json.loads(flow.attrs["plans"]) == {"1": plan}
    # float32 rounds four parts and their sum by 6e-8 each
    assert_close(
        torch.tensor(flow.whole_circuits.sum("circuit").values), torch.tensor(flow.whole.values), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    "surroundings",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
@pytest.mark.parametrize("name", ["bert", *wide("deberta-v2", "vit")])
def test_a_flow_does_not_depend_on_the_mode_it_is_asked_in(name, surroundings):
    """Scripts that predict run under these; gradients must be there all the same, and nothing be rounded to half."""
    model = lignite.wrap(ARCHITECTURES[name].build(dtype=torch.float32))
    expected = lignite.flow(model, inputs_of(name), layers=1, n_steps=2)
    size = model.config.hidden_size

    with surroundings():
        inputs = {key: value.clone() for key, value in inputs_of(name).items()}
        flow = lignite.flow(model, inputs, layers=1, n_steps=2)
        from_tensor = lignite.flow(model, inputs, layers=1, n_steps=2, baseline=torch.zeros(size))

    assert flow.identical(expected)
    assert (from_tensor.whole == lignite.flow(model, inputs_of(name), layers=1, n_steps=2, baseline="zero").whole).all()


@pytest.mark.wide
def test_a_run_warns_of_nothing_that_is_not_its_own():
    """Torch warns of itself when forward mode is first used; a user who turns warnings into errors would be stopped."""
    script = (
        "import warnings, lignite\n"
        "model = lignite.load('tiny-sentiment')\n"
        "warnings.simplefilter('error')\n"
        "lignite.flow(model, 'A fine film.', baseline='zero', layers=0, maps='attention')\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
