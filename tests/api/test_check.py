"""`lignite check`: what it says about a model is what `lignite flow` does with it."""

import json
import math
from dataclasses import replace

import pytest
import torch
import transformers
from rich.console import Console
from tests.kit.architectures import ARCHITECTURES, VOCABULARY
from tests.kit.tiny_tokenizers import word_piece
from tests.kit.wide import wide
from typer.testing import CliRunner

import lignite
from lignite.api import check as checks
from lignite.api.flow_options import DETAILS, MAPS
from lignite.apps import cli
from lignite.apps.check_table import print_check
from lignite.attribution.layer_scores import LayerScores
from lignite.errors import InputError, OptionError

LENGTH = 6

KINDS = {"bert": "interface", "gpt2": "interface", "llama": "interface", "bloom": "projection", "mamba": "definition"}
"""One family for every route; bert and gpt2 for both closed forms."""


@pytest.fixture(params=KINDS)
def family(request):
    network = ARCHITECTURES[request.param].build(dtype=torch.float32)
    return request.param, lignite.wrap(network, name=request.param)


@pytest.fixture
def bert():
    return lignite.wrap(ARCHITECTURES["bert"].build(dtype=torch.float32), name="bert")


class Restless(torch.nn.Module):
    """A block that never answers the same."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, states, *args, **kwargs):
        return self.block(states, *args, **kwargs) * (1 + 0.1 * torch.rand(()))


def ids(length=LENGTH):
    generator = torch.Generator().manual_seed(3)
    return {"input_ids": torch.randint(3, VOCABULARY, (1, length), generator=generator)}


def test_each_kind_of_block_is_told_apart(family):
    """The families that bypass the attention interface, or have no attention, are known ones."""
    name, model = family

    report = lignite.check(model, length=LENGTH)

    assert {layer.route for layer in report.layers} == {KINDS[name]}
    assert [layer.layer for layer in report.layers] == list(range(len(report.layers)))
    assert report.exact
    assert report.complete == (KINDS[name] == "interface")


@pytest.mark.filterwarnings("ignore:Scores miss")  # one node is not enough; what matters is that it is computed
def test_what_is_offered_is_delivered_and_nothing_else(family):
    """A check that promises too much, or too little, is worse than none."""
    _, model = family
    layer = lignite.check(model, length=LENGTH).layers[0]

    result = lignite.flow(model, ids(), layers=0, maps=layer.maps, detail=layer.details, n_steps=1)

    assert set(layer.maps) <= set(result)
    assert {f"whole_{name}" for name in layer.details} <= set(result)
    for name in set(MAPS) - set(layer.maps):
        with pytest.raises(OptionError):
            lignite.flow(model, ids(), layers=0, maps=name, n_steps=1)
    for name in set(DETAILS) - set(layer.details):
        with pytest.raises(OptionError):
            lignite.flow(model, ids(), layers=0, maps="whole", detail=name, n_steps=1)


@pytest.mark.filterwarnings("ignore:Scores miss")  # as above
@pytest.mark.parametrize(("baseline", "column"), [("target_token", "target_plan"), ("mean", "shared_plan")])
def test_the_plans_are_those_that_flow_takes(family, baseline, column):
    """Plans are named in every result."""
    _, model = family
    report = lignite.check(model, length=LENGTH)

    result = lignite.flow(model, ids(), maps="whole", baseline=baseline, n_steps=1)

    expected = json.loads(result.attrs["plans"])
    assert {str(layer.layer): getattr(layer, column) for layer in report.layers} == expected


def test_the_trial_of_a_layer_is_printed(bert, capsys):
    """The one number that says how far the scores can be believed."""
    layer = lignite.check(bert, length=LENGTH).layers[0]

    print_check(lignite.check(bert, length=LENGTH), console=Console(width=100))

    assert 0 < layer.trial <= 1e-4
    assert "trial" in capsys.readouterr().out


def test_refused_routes_come_with_their_reason(family):
    """Whoever wants more than a layer offers needs to know why it does not."""
    name, model = family

    report = lignite.check(model, length=LENGTH)

    better = {"interface": 0, "projection": 1, "definition": 2}[KINDS[name]]
    assert all(len(layer.refused) == better for layer in report.layers)
    assert all("interface: " in layer.refused[0] for layer in report.layers if better)


def test_a_layer_that_cannot_be_replayed_is_named_and_the_others_are_checked(bert):
    """One odd layer does not hide what can be said about the rest."""
    blocks = bert.network.encoder.layer
    blocks[1] = Restless(blocks[1])

    report = lignite.check(bert, length=LENGTH)

    assert [layer.route for layer in report.layers] == ["interface", "refused", "interface"]
    assert math.isnan(report.layers[1].error)
    assert "cannot be replayed" in report.layers[1].refused[0]
    assert not report.exact
    assert "Layer 1 cannot be explained" in report.verdict
    assert "--layers 0,2" in report.verdict


def test_a_model_that_cannot_be_replayed_ends_with_1(bert, monkeypatch):
    """So that a script can ask before it runs for hours; the layers are still listed."""
    blocks = bert.network.encoder.layer
    for number, block in enumerate(blocks):
        blocks[number] = Restless(block)
    monkeypatch.setattr("lignite.models.load.load", lambda *args, **options: bert)

    result = CliRunner().invoke(cli.app, ["check", "bert", "--length", str(LENGTH)])

    assert result.exit_code == 1
    assert "refused" in result.stdout
    assert "No layer can be explained" in result.stdout
    assert result.stderr == ""


def test_layers_of_one_kind_share_a_row(bert):
    """Sixty equal layers are one fact, not sixty."""
    blocks = bert.network.encoder.layer
    blocks[2] = Restless(blocks[2])
    report = lignite.check(bert, length=LENGTH)

    groups = report.groups()

    assert [[layer.layer for layer in group] for group in groups] == [[0, 1], [2]]


def test_layers_whose_reasons_differ_in_a_number_are_of_one_kind(bert):
    """Rounding differs from layer to layer; it makes no new kind, but another reason does."""
    layer = lignite.check(bert, length=LENGTH).layers[0]
    small, large, other = (
        replace(layer, refused=(f"interface: {reason}",))
        for reason in ("differs from the block by 1.2e-04", "differs from the block by 3e-03", "its tokens never meet")
    )

    assert small.kind == large.kind != other.kind


def test_the_model_stays_as_it_is(bert):
    """As everywhere in lignite: bit-identical, in the mode it was in."""
    bert.network.train()
    before = {name: tensor.clone() for name, tensor in bert.network.state_dict().items()}

    lignite.check(bert, length=LENGTH)

    assert bert.network.training
    assert all(weight.requires_grad for weight in bert.network.parameters())
    for name, tensor in bert.network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(("options", "expected"), [({"length": 7}, 7), ({}, 40), ({"text": "the plot was thin"}, 6)])
def test_the_input_is_as_long_as_asked_for(options, expected):
    """The cost of a run depends on the length; [CLS] and [SEP] stand around a text."""
    tokenizer = word_piece()
    architecture = ARCHITECTURES["bert"]
    config = {**architecture.config, "vocab_size": len(tokenizer), "max_position_embeddings": 40}
    model = lignite.wrap(transformers.BertModel(transformers.BertConfig(**config)), tokenizer)

    assert lignite.check(model, **options).n_tokens == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"length": 0}, OptionError, "at least 1"),
        ({"length": 500}, InputError, "at most"),
        ({"length": 5, "text": "x"}, OptionError, "both given"),
        ({"text": "x"}, InputError, "no tokenizer"),
    ],
)
def test_an_input_that_cannot_be_is_refused(bert, options, error, message):
    """Before any block is run."""
    with pytest.raises(error, match=message):
        lignite.check(bert, **options)


def test_images_are_checked_at_their_own_size():
    """Patches and the class token stand for the length."""
    architecture = ARCHITECTURES["vit"]
    model = lignite.wrap(architecture.build(dtype=torch.float32))

    report = lignite.check(model)

    patches = architecture.inputs()["pixel_values"].shape[-1] // model.config.patch_size
    assert report.n_tokens == patches**2 + 1
    assert report.complete


def test_the_memory_of_the_model_is_that_of_its_weights(bert):
    """Counted as a checkpoint would be; this model shares no weights."""
    report = lignite.check(bert, length=LENGTH)

    weights = {**dict(bert.network.named_parameters()), **dict(bert.network.named_buffers())}
    assert report.model_bytes == sum(tensor.numel() * tensor.element_size() for tensor in weights.values())


def test_less_memory_is_estimated_where_less_is_allowed(bert):
    """The estimate follows the budget down to one node and target at a time, which is always attempted."""
    sizes = [lignite.check(bert, length=12, memory=memory).working_bytes for memory in ("1 GB", "200 kB", 1)]

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_the_time_of_a_layer_is_counted_for_every_target(bert, monkeypatch):
    """Plans that pay by target are timed on four of them: eight tokens then take twice as long as measured."""
    clock = iter(range(10_000))
    monkeypatch.setattr(checks.time, "perf_counter", lambda: float(next(clock)))  # one second between any two looks
    bloom = lignite.wrap(ARCHITECTURES["bloom"].build(dtype=torch.float32))
    monkeypatch.setattr(checks, "attribute_layer", lambda block, *args, **options: (block, _converged()))

    closed_form = lignite.check(bert, length=8).layers[0].seconds
    by_target = lignite.check(bloom, length=8).layers[0].seconds

    assert closed_form == 1 + 1  # preparing the block, and one panel
    assert by_target == 1 + 2


def _converged():
    return LayerScores("", missed={"whole": []}, trial={"whole": 0.0})


def test_progress_counts_layers(bert):
    """A bar that stands still looks like a crash."""
    seen = []

    lignite.check(bert, length=LENGTH, progress=lambda done, total: seen.append((done, total)))

    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_details_that_are_missing_are_named_in_the_verdict():
    """The verdict says what to type instead."""
    mamba, bloom = (lignite.wrap(ARCHITECTURES[name].build(dtype=torch.float32)) for name in ("mamba", "bloom"))

    assert "not the detail circuits" in lignite.check(bloom, length=LENGTH).verdict
    assert "--maps whole" in lignite.check(mamba, length=LENGTH).verdict


@pytest.mark.parametrize("family", ["bert", *wide("gpt2", "llama"), "bloom", *wide("mamba")], indirect=True)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_and_cuts_nothing_off(family, width, capsys):
    """Names of routes and plans are what a reader searches the documentation for."""
    _, model = family
    report = lignite.check(model, length=LENGTH)

    print_check(report, console=Console(width=width))

    printed = capsys.readouterr().out
    first = report.layers[0]
    assert max(map(len, printed.splitlines())) <= width
    words = ["target_token", "maps", "details", *first.details, first.route]
    words += [*first.target_plan.split(), *first.shared_plan.split()]
    if width >= 80:  # below that, words are folded
        assert all(word in printed for word in words if first.details != DETAILS or word not in DETAILS)
    assert "…" not in printed
