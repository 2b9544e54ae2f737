"""What a flow takes of a machine: tensor operations and waits for the device, the cost of short inputs; and memory."""

import contextlib
import itertools
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.kit.architectures import ARCHITECTURES
from tests.kit.headed_models import headed
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lignite
from lignite.api.flow_options import MAPS
from lignite.attribution import abreast
from lignite.attribution.integrals import Opened
from lignite.attribution.plan import MIXED_NODES, find_closed_form
from lignite.attribution.target_path import Norm
from lignite.blocks import answers
from lignite.blocks.record import record
from lignite.blocks.routes import split_block
from lignite.methods.scoring import ca_lig
from lignite.models.hold import at_rest, before_each

LENGTH = 39  # as many positions as the tiny model has, less one
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique")
VIEWS = ("view", "t", "transpose", "expand", "select", "slice", "unsqueeze", "squeeze", "detach", "permute", "alias",
         "_unsafe_view", "split_with_sizes", "split", "unbind", "diagonal", "reshape", "_reshape_alias")  # fmt: skip


class Counted(TorchDispatchMode):
    """Counts what reaches the device; `waits` are reads of it, for which the host stands still."""

    def __init__(self):
        super().__init__()
        self.operations, self.waits = Counter(), 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.operations[name] += 1
        indexes = args[1] if name in ("index", "index_put_") else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indexes)
        self.waits += by_mask or name in WAITS
        return function(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.operations.values())

    @property
    def launched(self) -> int:
        """Those that compute or move anything; views cost the host alone."""
        return sum(count for name, count in self.operations.items() if name not in VIEWS)


@contextlib.contextmanager
def counting(monkeypatch):
    """Reads of whole tensors do not show among the operations of a CPU."""
    with Counted() as counted, monkeypatch.context() as patch:
        for name in ("tolist", "numpy", "cpu"):
            read = getattr(Tensor, name)

            def noted(tensor, *args, read=read, **options):
                counted.waits += 1
                return read(tensor, *args, **options)

            patch.setattr(Tensor, name, noted)
        yield counted


def cost_of(monkeypatch, n_layers: int, name: str, **options) -> Counted:
    architecture = ARCHITECTURES[name]
    architecture = replace(architecture, config={**architecture.config, "num_hidden_layers": n_layers})
    model, inputs = lignite.wrap(architecture.build(seed=0, dtype=torch.float32)), architecture.inputs(length=LENGTH)
    lignite.flow(model, inputs, **options)  # what is kept from call to call is there
    with counting(monkeypatch) as counted:
        lignite.flow(model, inputs, **options)
    return counted


@pytest.mark.parametrize(
    ("name", "maps", "operations", "launches"),
    [("bert", MAPS, 500, 250), ("bert", ("whole",), 335, 140), ("llama", ("whole",), 1160, 640)],
)
def test_a_layer_takes_few_operations_and_waits_little(name, maps, operations, launches, monkeypatch):
    """A launch costs microseconds and a wait empties the queue; a GPU is idle meanwhile. Every check is in the count.

    A plain forward pass of one layer takes 39, of which 12 compute (of a Llama's 70 and 34). The norm of a Llama's
    closed form is looked for once, not in every layer.
    """
    two, four = (cost_of(monkeypatch, n_layers, name, maps=maps, tol=0.1) for n_layers in (2, 4))

    assert (four.total - two.total) / 2 <= operations
    assert (four.launched - two.launched) / 2 <= launches
    assert (four.waits - two.waits) / 2 <= 4


@pytest.mark.parametrize(
    ("name", "maps", "launches"), [("bert", MAPS, 42), ("bert", ("whole",), 40), ("llama", ("whole",), 85)]
)
def test_layers_abreast_take_the_launches_of_one(name, maps, launches, monkeypatch):
    """What is left of a layer is its recording and one run of its block, to which the stack is held.

    Launches of four layers less those of two: what all take together is in neither. Nothing is waited for.
    """
    monkeypatch.setattr(abreast, "ABREAST", ("cpu",))
    two, four = (cost_of(monkeypatch, n_layers, name, maps=maps, tol=0.5) for n_layers in (2, 4))

    assert (four.launched - two.launched) / 2 <= launches
    assert four.waits == two.waits


@pytest.mark.parametrize(("name", "tol", "launches"), [("bert", 1e-3, 42), ("gpt2", 1e-2, 62)])
def test_shared_paths_abreast_take_the_launches_of_one(name, tol, launches, monkeypatch):
    """Panels are halved in all layers at once, and read at once: one round for most targets, or three."""
    monkeypatch.setattr(abreast, "ABREAST", ("cpu",))
    options = {"maps": "whole", "baseline": "zero", "tol": tol}
    two, four = (cost_of(monkeypatch, n_layers, name, **options) for n_layers in (2, 4))

    assert (four.launched - two.launched) / 2 <= launches
    assert four.waits == two.waits


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")  # few nodes: how many are needed is not the question
@pytest.mark.parametrize(("name", "head"), [("bert", "BertForSequenceClassification"), ("llama", "LlamaForCausalLM")])
def test_lines_of_all_layers_take_one_sweep(name, head, monkeypatch):
    """A point enters at its own block: a layer more is one block more up and one down, not one more for every layer."""
    launched, waits = [], set()
    for n_layers in (2, 4, 6):
        model = headed(name, head, num_hidden_layers=n_layers)
        text, options = "the plot was thin", {"path": "layer", "baseline": "mask", "n_steps": 5}
        lignite.explain(model, text, method="ca-lig", **options)
        with counting(monkeypatch) as counted:
            lignite.explain(model, text, method="ca-lig", **options)
        launched.append(counted.launched)
        waits.add(counted.waits)

    assert len(waits) == 1
    assert launched[2] - launched[1] == launched[1] - launched[0]


def test_the_model_is_asked_and_held_while_the_device_integrates(monkeypatch):
    """The sweep is most of what a device computes; whoever reads or copies behind it stands still until it is done.

    Ids come without a mask, at which a model of transformers looks in every pass.
    """
    model, marks = headed("bert", "BertForSequenceClassification"), []
    ids, options = {"input_ids": torch.tensor([[2, 5, 6, 3]])}, {"path": "layer", "baseline": "mask", "tol": 0.5}
    lignite.explain(model, ids, method="ca-lig", **options)
    opened, failing, differentiated = Opened.__init__, Opened.failing.fget, ca_lig.differentiate_attention
    swept = answers.swept

    def mark(what):
        marks.append((what, counted.waits, counted.operations["lift_fresh"]))  # tensors made of numbers of the host

    monkeypatch.setattr(Opened, "__init__", lambda self, way: [opened(self, way), mark("opened")][0])
    monkeypatch.setattr(Opened, "failing", property(lambda self: [mark("read"), failing(self)][1]))
    monkeypatch.setattr(ca_lig, "differentiate_attention", lambda stack: [mark("asked"), differentiated(stack)][1])
    monkeypatch.setattr(answers, "swept", lambda *of: [swept(*of), mark("held")][0])
    with counting(monkeypatch) as counted:
        lignite.explain(model, ids, method="ca-lig", **options)

    assert [what for what, *_ in marks] == ["opened", "asked", "held", "read"]
    assert len({tuple(counts) for _, *counts in marks[:3]}) == 1


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_relevance_is_pulled_through_a_block_with_two_waits(monkeypatch):
    """The verdict, on which the block below depends, and the model's own look at its mask."""
    waits = []
    for n_layers in (2, 4):
        model, options = headed("bert", "BertForSequenceClassification", num_hidden_layers=n_layers), {"n_steps": 5}
        lignite.explain(model, "the plot was thin", method="relevance-flow", baseline="mask", **options)
        with counting(monkeypatch) as counted:
            lignite.explain(model, "the plot was thin", method="relevance-flow", baseline="mask", **options)
        waits.append(counted.waits)

    assert (waits[1] - waits[0]) / 2 <= 2


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_blocks_are_pulled_back_in_one_run_of_the_model():
    """Where a block's path runs is known before what is pulled back through it; a run costs more than its block."""
    counts, options = [], {"method": "relevance-flow", "baseline": "mask", "n_steps": 5}
    for n_layers in (2, 4):
        model, runs = headed("bert", "BertForSequenceClassification", num_hidden_layers=n_layers), []
        lignite.explain(model, "the plot was thin", **options)
        with before_each([model.network], lambda *_, runs=runs: runs.append(1)):
            lignite.explain(model, "the plot was thin", **options)
        counts.append(len(runs))

    assert counts[0] == counts[1]


def peak_of(run) -> int:
    """The most bytes that tensors took at once beyond those that were there."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))


def test_memory_is_kept_or_the_result_says_what_was_taken():
    """Attention alone is 1.6 MB here, four heads by 320 tokens by 320, and a closed form has a dozen such tensors."""
    llama, length = ARCHITECTURES["llama"], 320
    short = replace(llama, config={**llama.config, "max_position_embeddings": length, "num_hidden_layers": 1})
    model, inputs = lignite.wrap(short.build(dtype=torch.float32)), short.inputs(length=length)
    options = {"maps": "whole", "n_steps": 3, "tol": 0.5}
    expected = lignite.flow(model, inputs, **options)
    flows, peaks = [], []
    for memory in ("1 MiB", "16 MiB"):
        peaks.append(peak_of(lambda memory=memory: flows.append(lignite.flow(model, inputs, memory=memory, **options))))

    taken = [json.loads(flow.attrs["memory"])["taken"] for flow in flows]
    assert peaks[0] <= taken[0]  # one pass of the block, which is not divided
    assert taken[1] <= 2**24
    assert peaks[1] <= 2**24
    for flow in flows:
        np.testing.assert_allclose(flow.whole, expected.whole, rtol=0, atol=1e-5 * float(abs(expected.whole).max()))


@pytest.mark.parametrize(("length", "most"), [(24, MIXED_NODES), (320, 2)])
def test_a_closed_form_of_a_long_input_is_tried_at_fewer_nodes(length, most, monkeypatch):
    """A node takes as much memory as the block does, and a long input has pairs enough at two of them."""
    llama, given = ARCHITECTURES["llama"], []
    short = replace(llama, config={**llama.config, "max_position_embeddings": length, "num_hidden_layers": 1})
    model = lignite.wrap(short.build(dtype=torch.float32))
    with at_rest(model.network), torch.no_grad():
        block = split_block(model, record(model.network, short.inputs(length=length))[0])
        inner = type(block).pre

        def counted(self, states, *args, **options):
            given.append(len(states))
            return inner(self, states, *args, **options)

        monkeypatch.setattr(type(block), "pre", counted)
        found = find_closed_form(block)

    assert found is not None
    assert max(given) == most


@pytest.mark.parametrize("likely", [Norm(centred=True, eps=1e-5), Norm(centred=False, eps=0.1)])
def test_a_likely_norm_is_held_to_the_block_like_any_other(likely):
    """Layers of one model mostly have one norm; a layer that has another is not made to take its neighbour's."""
    llama = ARCHITECTURES["llama"]
    model = lignite.wrap(llama.build())
    with at_rest(model.network), torch.no_grad():
        block = split_block(model, record(model.network, llama.inputs())[1])
        chosen, misled = find_closed_form(block), find_closed_form(block, likely=likely)

    assert not chosen[1].norm.centred
    assert str(misled[1].norm) == str(chosen[1].norm)
    assert misled[1].norm.eps == chosen[1].norm.eps
