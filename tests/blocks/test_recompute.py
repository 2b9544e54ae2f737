"""Blocks that are run again on the way down give what a graph of them all gives, and take less memory."""

import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.architectures import ARCHITECTURES, full_precision
from tests.kit.headed_models import headed
from tests.kit.saved_models import few_nodes
from tests.kit.wide import mostly_wide

import lignite
from lignite.blocks import recompute
from lignite.blocks.replay import saved_bytes
from lignite.blocks.stack import Stack, points_at_once
from lignite.methods.scoring import stacks
from lignite.models.hold import at_rest
from lignite.targets.ask import ask

TEXT = "the plot was thin, but the acting says it all"
TINY = "1 kB"
"""Of memory: the graph of no model fits."""

FAMILIES = ("bert", "gpt2", "llama", "t5", "bart", "albert", "gpt_oss", "gemma2", "deberta-v2", "qwen3_moe", "vit")
METHODS = ("ca-lig:detail=heads", "ca-lig:path=layer", "relevance-flow", "ig", "attnlrp", "attention-x-gradient")
DOWN_BLOCK_BY_BLOCK = ("attnlrp", "attention-x-gradient", "relevance-flow")
"""Methods that go down through one block after the other, of which no graph is made twice."""
FEW = {"baseline": "zero", "n_steps": 3}


def read_last(outputs):
    return outputs.last_hidden_state[:, -1, 0]


def explained(model, inputs, method, memory, **options):
    options |= FEW if method.startswith(("ca-lig", "relevance-flow", "ig")) else {}
    if method == "relevance-flow":
        options["orders"] = False
    return lignite.explain(model, inputs, method=method, memory=memory, **options)


@pytest.fixture
def counted(monkeypatch):
    """Counts the forwards that were run in order to be run again."""
    found, own = [], recompute.checkpoint
    monkeypatch.setattr(recompute, "checkpoint", lambda *args, **kwargs: [found.append(1), own(*args, **kwargs)][1])
    return found


@few_nodes
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", mostly_wide(FAMILIES, ("bert", "llama", "gpt_oss", "vit")))
def test_blocks_that_are_run_again_give_the_same(name, method, counted):
    """Every way down, in families whose blocks share weights, choose experts, hand on biases."""
    architecture = ARCHITECTURES[name]
    model = lignite.wrap(full_precision(architecture.build()))
    inputs = architecture.inputs(length=7)

    plain = explained(model, inputs, method, "1 GiB", target=read_last)
    assert not counted
    again = explained(model, inputs, method, TINY, target=read_last)

    returned = (name, method) == ("deberta-v2", "attention-x-gradient")  # weights that all blocks return together
    assert bool(counted) == (returned or method not in DOWN_BLOCK_BY_BLOCK)
    # float64; nodes stand in other batches, and sums of a backward pass come in another order
    for variable, values in plain.data_vars.items():
        if values.dtype.kind == "f":
            scale = float(abs(values).max())
            assert_allclose(again[variable], values, rtol=1e-9, atol=1e-10 * scale, err_msg=str(variable))


def kept_by_the_graph(n_layers, again):
    """Bytes that lie in memory between the way up and the way down, each once."""
    model = headed("bert", "BertForSequenceClassification", num_hidden_layers=n_layers)
    with at_rest(model.network):
        stack = Stack(model, ask(model, TEXT))
        stack.again = again
        states = stack.states[0].detach().requires_grad_()
        return saved_bytes(lambda: stack.run(0, states, torch.arange(1)), model.network), states.nbytes


def test_a_graph_keeps_one_state_of_a_block_that_is_run_again():
    """So that a block more takes the memory of its states, where it took that of all it computes."""
    (few, state), (many, _) = (kept_by_the_graph(n_layers, again=True) for n_layers in (3, 7))
    (plain_few, _), (plain_many, _) = (kept_by_the_graph(n_layers, again=False) for n_layers in (3, 7))

    assert many - few == 4 * state
    assert plain_many - plain_few > 5 * (many - few)


@pytest.mark.parametrize(("share", "again"), [(0.9, True), (1.1, False)])
def test_blocks_are_run_again_when_one_graph_takes_four_times_the_memory(share, again):
    """A graph that takes less is made at once: a forward pass is saved."""
    model = headed("bert", "BertForSequenceClassification")
    (row,) = ask(model, TEXT)
    graph = row.n_tokens * recompute.bytes_per_token(model, gradient=True)
    seen = []

    def look(stack):
        seen.append((stack.again, points_at_once(stack, graph, gradient=True)))
        return [None]

    with at_rest(model.network):
        stacks.by_stack(model, [row], share * graph / recompute.GRAPHS, look)

    ((found, n_points),) = seen
    assert found == again
    assert (n_points > 1) == again  # one block's graph and some states are less than the graph of all
