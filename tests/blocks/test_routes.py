"""A block is taken apart by a route that is right or is not built, and that stays as it was built."""

import gc
import weakref
from dataclasses import FrozenInstanceError

import pytest
import torch
from tests.kit.architectures import ARCHITECTURES
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

import lignite
from lignite.attribution.layer import attribute_layer
from lignite.attribution.layer_scores import MapOptions
from lignite.attribution.panels import Precision
from lignite.blocks.record import record
from lignite.blocks.routes import BUILDERS, Route, split_block
from lignite.errors import SplitError
from lignite.models.hold import at_rest

LENGTH = 6
REPLACED = "its own attention function refuses: plain attention stands in"
ROUTES = {"bert": "interface", "deberta-v2": "projection", "mamba": "definition"}


def split(name: str, dtype: torch.dtype = torch.float32) -> tuple[lignite.Model, Route]:
    model = lignite.wrap(ARCHITECTURES[name].build(seed=0, dtype=dtype))
    inputs = ARCHITECTURES[name].inputs(seed=1, length=LENGTH)
    with at_rest(model.network):
        return model, split_block(model, record(model.network, inputs)[1])


def held(thing: object) -> dict[str, object]:
    """What an object holds: which things, and of tensors the numbers, too; what it has read off them is nothing new."""
    found = [(name, part) for name, part in vars(thing).items() if not hasattr(vars(Route).get(name), "attrname")]
    return {name: (id(part), part.tolist() if isinstance(part, Tensor) else None) for name, part in found}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ROUTES)
def test_a_route_stays_as_it_was_built(name, dtype):
    """What one map leaves behind in it, the next would read: results would depend on what was asked before."""
    model, route = split(name, dtype)
    before = held(route), held(route.replay)

    with at_rest(model.network):
        for start in (None, torch.zeros_like(route.states)):
            options = MapOptions(maps=(), self_term="zero_ratio")
            settled, _ = attribute_layer(route, start, torch.tensor([1, 4]), options, Precision(tol=1e-6), budget=1e6)
            assert settled is route
        assert route.error >= 0
        route.path_bytes()

    assert (held(route), held(route.replay)) == before
    assert route.route == ROUTES[name]
    with pytest.raises(FrozenInstanceError):
        route.output = None


def test_a_retreat_leaves_a_route_as_it_was_and_names_its_reason():
    """Whoever still holds the first route goes on with what was promised."""
    model, first = split("deberta-v2")
    before = held(first)

    with at_rest(model.network):
        second = first.retreat("it was wrong")
        with pytest.raises(SplitError, match=r"projection: it was wrong; definition: so was that"):
            second.retreat("so was that")

    assert held(first) == before
    assert second.route == "definition"
    assert second.n_heads == 0
    assert second.refused == (*first.refused, "projection: it was wrong")


def test_attention_that_serves_one_input_at_a_time_is_replaced_where_several_are_needed():
    """A kernel may refuse several inputs or gradients; the model's own answer for one input still decides."""

    def serve_one(module, query, *args, **options):
        if len(query) > 1:
            raise ValueError("one input at a time, please")
        return sdpa_attention_forward(module, query, *args, **options)

    AttentionInterface.register("one-at-a-time", serve_one)
    AttentionMaskInterface.register("one-at-a-time", sdpa_mask)
    bert, networks = ARCHITECTURES["bert"], {}
    for kind in ("one-at-a-time", "sdpa"):
        networks[kind] = bert.build(seed=0, dtype=torch.float64)
        networks[kind].set_attn_implementation(kind)

    found, plain = (
        lignite.flow(network, bert.inputs(seed=1, length=LENGTH), layers=0, maps=("whole", "attention"))
        for network in networks.values()
    )
    model = lignite.wrap(networks["one-at-a-time"])
    with at_rest(model.network):
        route = split_block(model, record(model.network, bert.inputs(seed=1, length=LENGTH))[0])
        several = route.whole(route.states.expand(3, -1, -1))

    torch.testing.assert_close(several, route.output.expand(3, -1, -1), rtol=0, atol=1e-12)
    assert float(abs(found.whole - plain.whole).max()) <= 1e-12 * float(abs(plain.whole).max())
    assert route.refused == (
        "its own attention function refuses: plain attention stands in (one input at a time, please)",
    )


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize("run", ["flow", "relevance-flow", "check"])
def test_one_block_is_taken_apart_at_a_time(run, monkeypatch):
    """However deep a model is: copies in full precision, captured projections and graphs are those of one block."""
    model = lignite.load("tiny-sentiment", dtype="bfloat16" if run != "relevance-flow" else "float32")
    alive, built = [], []

    def counting(build):
        def counted(*given):
            alive.append(sum(route() is not None for route in built))
            route = build(*given)
            built.append(weakref.ref(route))
            return route

        return counted

    for name, build in BUILDERS.items():
        monkeypatch.setitem(BUILDERS, name, counting(build))
    gc.collect()
    gc.disable()
    try:
        if run == "flow":
            lignite.flow(model, "A superb film.", n_steps=2, tol=0.9)
        elif run == "check":
            lignite.check(model, length=5)
        else:
            lignite.explain(model, "A superb film.", method=run, detail="relevance-flow", n_steps=2, tol=0.9)
    finally:
        gc.enable()

    assert len(built) > 1
    assert alive == [0] * len(built)
