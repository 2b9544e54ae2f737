"""One examination of every architecture: each is exact, or is refused with a reason."""

import pytest
import torch
from tests.battery import HEADER, LENGTH, blocks_of, examine, read_table, scores_of
from tests.kit.architectures import ARCHITECTURES
from tests.kit.wide import mostly_wide

import lignite
from lignite.api.flow_options import MAPS
from lignite.attribution.layer import attribute_layer
from lignite.attribution.layer_scores import MapOptions
from lignite.attribution.panels import Precision
from lignite.blocks.replay import ROUNDING
from lignite.errors import OptionError

OF_EVERY_KIND = (
    "bert", "deberta-v2", "t5", "gpt2", "bloom", "falcon-alibi", "llama", "mixtral", "gpt_oss", "mamba", "vit", "beit"
)  # fmt: skip
"""One architecture of every route, plan and peculiarity; the wide run examines all."""

every_architecture = pytest.mark.parametrize("name", mostly_wide(ARCHITECTURES, OF_EVERY_KIND))

ROUTES = {"interface": "interface", "own": "projection", "none": "definition"}
PROMISED = {
    *("bert", "roberta", "xlm-roberta", "electra", "camembert", "distilbert", "albert", "deberta-v2", "mpnet"),
    *("modernbert", "gpt2", "gpt_neox", "opt", "bloom", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"),
    *("phi3", "olmo2", "mixtral", "gpt_oss", "falcon-rotary", "falcon-alibi", "falcon-grouped", "t5", "bart"),
    *("vit", "deit", "dinov2", "beit"),
}


@every_architecture
def test_an_architecture_is_exact(name):
    """No plan is believed: masks, positions, groups, caps and sinks differ from family to family."""
    found = examine(name)

    assert found.split <= 1e-13  # a block in float64 adds up some tens of roundings of 1e-16
    assert found.error <= 1e-9  # promised; two orders of summation differ by 1e-15 to 1e-13
    assert found.parts <= 1e-13  # the parts are sums over the same terms


@every_architecture
def test_an_architecture_is_divided_as_well_as_it_can_be(name):
    """A family that falls back to a slower route or plan is still exact, so only this test would notice."""
    found = examine(name)

    assert found.routes == (ROUTES[ARCHITECTURES[name].attention],)
    if found.routes == ("interface",):
        assert found.zero_plans == ("shared",)


@every_architecture
def test_an_architecture_as_it_is_loaded_is_divided_alike(name):
    """Users load float32 with the attention of the family's choice; rounding must not cost them the route."""
    model, blocks = blocks_of(ARCHITECTURES[name], torch.float32)

    assert {block.route for block in blocks} == set(examine(name).routes)
    assert max(block.error for block in blocks) <= ROUNDING[torch.float32].block
    assert all(
        module.config._attn_implementation != "lignite" for module in model.network.modules() if is_model(module)
    )


def is_model(module) -> bool:
    return hasattr(getattr(module, "config", None), "_attn_implementation")


@pytest.mark.wide
@pytest.mark.parametrize("name", [name for name, a in ARCHITECTURES.items() if a.attention == "interface"])
def test_single_precision_finds_the_closed_form_of_double_precision(name):
    """A form is accepted by its error at one mixture: float32 rounding must stay on the right side of the tolerance."""
    model, blocks = blocks_of(ARCHITECTURES[name], torch.float32)

    with lignite.models.hold.at_rest(model.network):
        plans = dict.fromkeys(scores_of(block, from_zero=False)[1].plan for block in blocks)

    assert tuple(plans) == examine(name).token_plans


@pytest.mark.parametrize("name", [name for name, a in ARCHITECTURES.items() if a.attention == "own"])
def test_circuits_are_refused_where_queries_and_keys_are_hidden(name):
    """Attention of a block's own shows its heads, not what they were made of."""
    with pytest.raises(OptionError, match=r"circuits.*interface.*bypasses") as caught:
        attribute(name, maps=("whole",), detail=("circuits",))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"maps": ("attention",)}, {"maps": ("whole",), "detail": ("heads",)}])
def test_a_block_without_heads_says_what_it_offers(options):
    """Mamba has no heads; silence would be read as zeros."""
    with pytest.raises(OptionError, match=r"whole.*|heads.*offers none") as caught:
        attribute("mamba", **options)

    assert "\n" not in str(caught.value)


def attribute(name: str, **options):
    model, blocks = blocks_of(ARCHITECTURES[name], torch.float64)
    with lignite.models.hold.at_rest(model.network):
        chosen, once = MapOptions(**{"maps": MAPS} | options), Precision(n_steps=1)
        return attribute_layer(blocks[0], None, torch.arange(LENGTH), chosen, once, budget=1e8)[1]


def test_the_promised_families_are_in_the_battery():
    """The list that users are told; the battery may hold more."""
    assert set(ARCHITECTURES) >= PROMISED


def test_the_written_table_lists_every_architecture():
    """`python -m tests.battery --write docs/architectures.md` writes it; it is read before a model is tried."""
    assert read_table().keys() == ARCHITECTURES.keys()


@every_architecture
def test_the_written_table_says_what_is_found_now(name):
    """A table that is not written again is worse than none. Errors are rounding and differ between machines."""
    written = dict(zip(HEADER, read_table()[name], strict=True))
    found = dict(zip(HEADER, examine(name).cells(), strict=True))

    for column in ("class", "route", "target-token path", "zero path"):
        assert written[column] == found[column]
    assert float(written["largest error"]) <= 1e-9
