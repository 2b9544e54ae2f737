"""Copies of modules with other tensors, which share with the module what nobody changes."""

import copy

import pytest
import torch
from tests.kit.architectures import ARCHITECTURES
from tests.kit.wide import mostly_wide
from torch import nn

from lignite.attribution.paths import LinearByItself
from lignite.attribution.trial import Coarsest
from lignite.blocks.record import record
from lignite.errors import ModelError
from lignite.models.hold import at_rest, named_tensors, with_tensors


class Roundabout(nn.Module):
    """A block that reaches its parts by other ways than their names: a bound method, a list, a part of a part."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.shared = self.inner
        self.register_buffer("scale", torch.ones(3))
        self.run = self._run
        self.parts = [self.inner]
        self.options = {"of": self.inner, "twice": True}

    def _run(self, states):
        return self.parts[0](states) * self.scale + self.options["of"](states)

    def forward(self, states):
        return self.run(states)


def test_a_copy_computes_with_the_tensors_it_is_given_whatever_way_it_reaches_them():
    """One that still asked the module would give another layer's numbers."""
    module, states = Roundabout(), torch.randn(2, 3)
    other = copy.deepcopy(module)
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.data = torch.randn_like(tensor)
    before = module(states)

    copied = with_tensors(module, dict(named_tensors(other)))

    torch.testing.assert_close(copied(states), other(states), rtol=0, atol=0)
    torch.testing.assert_close(module(states), before, rtol=0, atol=0)
    assert copied.inner is copied.shared
    assert copied.inner.weight is other.inner.weight


def test_what_is_hung_on_a_copy_is_not_on_the_module():
    """Hooks watch the parts of a copy while others may be running the module."""
    module, seen = Roundabout(), []
    copied = with_tensors(module, {})

    copied.inner.register_forward_hook(lambda *_: seen.append("copy"))
    copied.options["twice"] = False
    module(torch.randn(2, 3))

    assert seen == []
    assert module.options["twice"] is True


@pytest.mark.parametrize("name", mostly_wide(list(ARCHITECTURES), ("bert", "llama", "vit")))
def test_a_copy_of_a_block_says_what_the_block_says(name):
    """As a deep copy does, of every family."""
    architecture = ARCHITECTURES[name]
    network = architecture.build()
    with at_rest(network), torch.no_grad():
        call = record(network, dict(architecture.inputs()))[0]
        copied = with_tensors(call.module, dict(named_tensors(call.module)))
        args, kwargs = call.args, dict(call.kwargs)
        states = call.layout.write(call.states[None])
        if call.states_at == 0:
            args = (states, *args[1:])
        else:
            kwargs[call.states_at] = states
        one, other = (each(*args, **kwargs) for each in (call.module, copied))
    one, other = (each[0] if isinstance(each, tuple) else each for each in (one, other))
    torch.testing.assert_close(other, one, rtol=0, atol=0)


class OfOneRow(nn.Module):
    """A model that keeps what it was given once, and cannot put it beside several inputs (Zamba's kind)."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, states):
        return self.inner(torch.cat([states, torch.zeros(1, 3)], dim=-1)[:, :3])


@pytest.mark.parametrize("onlooker", [LinearByItself(), Coarsest(torch.float64)], ids=["functions", "operations"])
def test_what_a_model_raises_is_the_models_whoever_looks_on(onlooker):
    """A mode of torch stands between the model's line and the error; the error is no less the model's."""
    model = OfOneRow()

    with pytest.raises(ModelError, match="OfOneRow fails on this input"), at_rest(model), onlooker:
        model(torch.zeros(2, 3))
