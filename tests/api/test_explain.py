"""Explanations end to end: whatever else was given they are the same, the model is untouched, bad input is one line."""

import gc
import json
import warnings
from itertools import pairwise
from typing import Any

import psutil
import pytest
import torch
import transformers
import xarray as xr
from numpy.testing import assert_allclose
from tests.kit.architectures import ARCHITECTURES
from tests.kit.headed_models import headed
from tests.kit.snapshots import Snapshot, snapshot
from tests.kit.tiny_tokenizers import byte_level, sentence_piece
from tests.kit.wide import mostly_wide

import lignite
from lignite.errors import GapWarning, LigniteError, OptionError
from lignite.results.schema import validate
from lignite.targets.ask import ask
from lignite.targets.target import Target

pytestmark = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")  # few nodes, for time

PROMISE = 1e-5  # of the largest score: float32 sums in another order
TEXTS = ["the plot was thin", "people says nothing at all", "it was"]
PLAIN = {
    "method": "ca-lig", "path": "input", "baseline": "mask", "fusion": 1.0, "aggregate": "sum", "layer_weights": None,
    "ends": False,
}  # fmt: skip
ENGINE: dict[str, dict[str, Any]] = {
    "input": PLAIN,
    "layer": {**PLAIN, "path": "layer"},
    "fused": {**PLAIN, "fusion": 0.4, "aggregate": "rollout", "detail": "heads"},
    "averaged": {**PLAIN, "baseline": ("pad", "mean"), "aggregate": "last"},
    "both ends": {**PLAIN, "ends": True},
    "random nodes": {**PLAIN, "nodes": "stochastic", "n_steps": 6},
    "flow": {
        "method": "relevance-flow", "baseline": "mask", "orders": True, "detail": ("relevance-flow", "heads"),
    },
}  # fmt: skip
"""Written out, whatever the defaults are."""
HEADS = {
    "bert": "BertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "deberta-v2": "DebertaV2ForSequenceClassification",
}

engine = pytest.mark.parametrize("way", ENGINE)

SCORES = ("relevance", "layer_relevance", "layer_ig", "attention_gradient")


def model_of(name: str = "bert", **options) -> lignite.Model:
    return headed(name, HEADS[name], **({"dtype": torch.float32} | options))


def explain(model: lignite.Model, inputs: Any, way: str, **options):
    """With a fixed number of nodes: an adaptive run may cut one panel more for another rounding."""
    chosen = {"n_steps": 6} | ENGINE[way] | options
    return lignite.explain(model, inputs, **chosen)


def assert_same(actual: xr.Dataset, expected: xr.Dataset, *, allowed: float = PROMISE) -> None:
    """Scores beside the largest of their kind; differences of answers, and what comes from them, beside the answer."""
    assert set(actual.data_vars) == set(expected.data_vars)
    answer = max(1.0, abs(expected.attrs["value"]))
    for name in expected.data_vars:
        own = name.startswith(SCORES) and not name.endswith(("error", "gap"))
        scale = float(abs(expected[name]).max()) if own else answer
        assert_allclose(actual[name], expected[name], rtol=0, atol=allowed * scale, err_msg=str(name))


# The same whatever else was given


LISTS = mostly_wide(
    [*(("bert", way) for way in ENGINE), ("gpt2", "input"), ("llama", "flow")],
    [("bert", "input"), ("bert", "layer"), ("bert", "fused"), ("llama", "flow")],
)


@pytest.mark.parametrize(("name", "way"), LISTS)
def test_a_list_gives_what_each_text_gives_alone_in_any_order(name, way):
    """Nobody should have to know what else was in a batch, or where."""
    model = model_of(name)
    alone = [explain(model, text, way) for text in TEXTS]

    for order in ((0, 1, 2), (2, 0)):
        together = explain(model, [TEXTS[place] for place in order], way)
        for place, why in zip(order, together, strict=True):
            assert_same(why, alone[place])
            assert why.attrs["text"] == TEXTS[place]
            assert why.token.values.tolist() == alone[place].token.values.tolist()


PADDED = [*(("bert", "right", way) for way in ENGINE), ("llama", "left", "fused"), ("llama", "left", "flow")]
PADDED += [("deberta-v2", "right", "fused"), ("gpt2", "right", "layer")]


@pytest.mark.parametrize(("name", "side", "way"), PADDED)
def test_padding_does_not_change_an_explanation(name, side, way):
    """As tensors, on the left for models that read the last token."""
    model = model_of(name)
    alone = dict(ask(model, TEXTS[0])[0].encoded.tensors)
    amount = (3, 0) if side == "left" else (0, 3)
    padded = {name: torch.nn.functional.pad(tensor, amount) for name, tensor in alone.items()}

    why, expected = explain(model, padded, way), explain(model, alone, way)

    assert_same(why, expected)
    assert list(why.position.values - expected.position.values) == [amount[0]] * expected.sizes["token"]


@pytest.mark.wide
@pytest.mark.parametrize("way", ["input", "layer", "fused", "flow"])
def test_memory_decides_how_much_at_once_and_nothing_else(way):
    """Two points of a path at a time, or all of them; one text or several."""
    small, large = (explain(model_of(), TEXTS, way, memory=memory) for memory in ("60 kB", "1 GiB"))

    for one, other in zip(small, large, strict=True):
        assert_same(one, other)


@engine
def test_a_run_repeats_bit_by_bit(way):
    """Drawn nodes have a seed of their own, whatever the global generator has seen."""
    first = explain(model_of(), TEXTS[0], way)
    torch.manual_seed(99)
    torch.rand(3)

    again = explain(model_of(), TEXTS[0], way)

    xr.testing.assert_identical(first, again)


def test_another_seed_draws_other_nodes_and_says_how_far_off_they_are():
    """Errors of eight pairs of nodes are known to a third or so: six of them cover every score."""
    model = model_of(dtype=torch.float64)
    exact = lignite.explain(model, TEXTS[0], **PLAIN).layer_ig

    runs = [explain(model, TEXTS[0], "random nodes", n_steps=16, seed=seed) for seed in (1, 2)]

    assert not runs[0].layer_ig.identical(runs[1].layer_ig)
    words = ~exact.special.values
    for run in runs:
        errors = run.layer_ig_error.values
        assert (errors[:, words] > 0).all()
        assert (abs(run.layer_ig - exact).values <= 6 * errors + 1e-3 * float(abs(exact).max())).all()
        assert errors.max() < 0.1 * float(abs(exact).max())


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_attention_a_model_was_loaded_with_changes_nothing(name):
    """They are the same function, sdpa and eager."""
    sdpa, eager = (
        explain(model_of(name, dtype=torch.float64, attn_implementation=kind), TEXTS[0], "fused")
        for kind in ("sdpa", "eager")
    )

    # eager softmax rounds to float32 in places
    assert_same(sdpa, eager, allowed=1e-6)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["fused", "flow", "random nodes"])
def test_the_mode_it_is_asked_in_changes_nothing(way, mode):
    """Scripts that predict run under these; gradients must be there all the same, and nothing be rounded to half."""
    model = model_of()
    expected = explain(model, TEXTS[0], way)

    with MODES[mode]():
        why = explain(model, TEXTS[0], way)

    xr.testing.assert_identical(why, expected)


# A result


@engine
def test_a_result_keeps_the_layout_and_says_how_it_was_made(way):
    """One contract for whatever reads it."""
    why = explain(model_of(), TEXTS[0], way, target="LABEL_1")

    validate(why)
    request = json.loads(why.attrs["request"])
    assert request["method"] == why.attrs["method"] == ENGINE[way].get("method", "ca-lig")
    assert json.loads(why.attrs["target"])["label"] == 1
    assert why.attrs["text"] == TEXTS[0]
    assert why.token.values.tolist() == ["[CLS]", "the", "plot", "was", "thin", "[SEP]"]
    assert why.start.values.tolist() == [-1, 0, 4, 9, 13, -1]
    assert (why.relevance.values[[1, 2, 3, 4]] != 0).all()


def test_relevance_is_signed_for_the_target():
    """What speaks for one class against another speaks against the other against the one."""
    model = model_of(dtype=torch.float64)

    one, other = (lignite.explain(model, TEXTS[0], target=pair) for pair in ((0, 1), (1, 0)))

    assert_allclose(one.relevance, -other.relevance, rtol=0, atol=1e-12)
    assert (one.relevance > 0).any() or (one.relevance < 0).any()


def test_a_difference_of_logits_is_the_difference_of_its_explanations():
    """Integrated gradients are linear in F; both are within the tolerance."""
    model = model_of(dtype=torch.float64)
    options = {"method": "ca-lig", "n_steps": 8, "tol": 0.5}

    pair = lignite.explain(model, TEXTS[0], target=(2, 0), **options)

    parts = [lignite.explain(model, TEXTS[0], target=number, **options) for number in (2, 0)]
    for name in ("relevance", "layer_ig", "displacement", "output_ig", "attention_gradient"):
        assert_allclose(pair[name], parts[0][name] - parts[1][name], rtol=0, atol=1e-10, err_msg=name)


def test_special_tokens_are_the_same_in_the_baseline_unless_asked():
    """They score nothing at the first layer where they do not move; later they carry what others gave them."""
    model = model_of(dtype=torch.float64)

    for path in ("input", "layer"):
        for baseline in ("mask", "pad", "zero", "mean"):
            kept = lignite.explain(model, TEXTS[0], baseline=baseline, path=path, n_steps=6, tol=0.5, method="ca-lig")
            moved = lignite.explain(
                model, TEXTS[0], baseline=baseline, path=path, keep_special=False, n_steps=6, tol=0.5, method="ca-lig"
            )
            assert not kept.layer_ig.values[0][[0, -1]].any()
            assert moved.layer_ig.values[0][[0, -1]].all()


def test_each_step_of_a_continuation_is_explained():
    """One result per token, in order; what was generated before counts as a source."""
    model = model_of("gpt2")

    steps = lignite.explain(model, TEXTS[0], target=Target(steps=3))

    assert [why.sizes["token"] for why in steps] == [6, 7, 8]
    assert isinstance(lignite.explain(model, TEXTS[0], target=Target(steps=1)), list)


def test_one_text_gives_one_result_and_a_list_a_list():
    """Also a list of one."""
    model = model_of()

    assert isinstance(explain(model, TEXTS[0], "input"), xr.Dataset)
    assert isinstance(explain(model, TEXTS[:1], "input"), list)
    assert isinstance(explain(model, ("the plot", "was thin"), "input"), xr.Dataset)


def test_progress_counts_to_the_number_of_inputs():
    """Long work says how far it is."""
    seen = []

    lignite.explain(
        model_of(), ["plot", "it was"] * 40, n_steps=1, tol=0.99, progress=lambda done, of: seen.append((done, of))
    )

    assert seen[-1] == (80, 80)
    assert all(one[0] < other[0] for one, other in pairwise(seen))


def test_scores_that_miss_are_named_once():
    """Every text and layer in one warning, with the remedy; the gaps are in the result."""
    with pytest.warns(GapWarning) as caught:
        why = lignite.explain(model_of(), TEXTS[:2], baseline="zero", n_steps=1)

    (warning,) = caught
    text = str(warning.message)
    assert "Scores miss more than 0.001 of their displacement for 'the plot was thin' at layers 0, 1, 2" in text
    assert "'people says nothing at all'" in text
    assert "Raise n_steps above 1" in text
    assert (abs(why[0].gap) > 1e-3 * abs(why[0].displacement)).any()


def test_baselines_whose_displacements_cancel_are_held_to_what_each_explains():
    """F rises from the one by what it falls from the other: a mean near zero is no measure for a gap."""
    model = headed("bert", "BertForSequenceClassification")
    text = "the plot was thin, but it says nothing"

    parts = [lignite.explain(model, text, baseline=name) for name in ("mask", "zero")]
    with warnings.catch_warnings():
        warnings.simplefilter("error", GapWarning)
        both = lignite.explain(model, text, baseline=("mask", "zero"))
        lignite.explain(model, text, baseline=("mask", "zero"), method="relevance-flow")

    displacements = [float(part.displacement[0]) for part in parts]
    assert displacements[0] * displacements[1] < 0
    assert abs(float(both.displacement[0])) < 0.1 * min(abs(each) for each in displacements)


# Untouched


def lived_in(name: str) -> lignite.Model:
    """In the middle of its life: partly training, partly frozen, with gradients and a hook of the user's."""
    model = model_of(name)
    network = model.network
    for number, module in enumerate(network.modules()):
        module.training = number % 3 == 0
    for number, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        if number % 4 == 0:
            parameter.grad = torch.full_like(parameter, 0.5)
    network.base_model.get_submodule(ARCHITECTURES[name].blocks)[0].register_forward_hook(lambda *_: None)
    network.config.pad_token_id = None  # what batches of a decoder's classifier need is put back, too
    return model


def state_of(model: lignite.Model) -> tuple[Snapshot, Any]:
    return snapshot(model.network), (model.network.config._attn_implementation, model.network.config.pad_token_id)


LIVED_IN = [*(("bert", way) for way in ENGINE), ("gpt2", "input"), ("llama", "fused"), ("deberta-v2", "flow")]


@pytest.mark.parametrize(("name", "way"), LIVED_IN)
def test_a_run_leaves_the_model_as_it_was(name, way):
    """Weights, gradients, flags, hooks, forwards, configuration: it belongs to the user."""
    model = lived_in(name)
    before, settings = state_of(model)

    explain(model, TEXTS[2], way, n_steps=4)

    after, now = state_of(model)
    before.assert_equal(after)
    assert now == settings


def test_a_refused_run_leaves_the_model_as_it_was():
    """An error in the middle, here one of the user's own function."""
    model, calls = lived_in("bert"), []
    before, settings = state_of(model)

    def stumbles(outputs):
        calls.append(1)
        if len(calls) > 6:
            raise ZeroDivisionError
        return outputs.logits[:, 0]

    with pytest.raises(OptionError, match=r"target function failed.*ZeroDivisionError"):
        lignite.explain(model, TEXTS[0], target=stumbles)

    before.assert_equal(state_of(model)[0])
    assert state_of(model)[1] == settings


@pytest.mark.wide
def test_two_hundred_runs_take_no_more_memory_than_twenty():
    """Hooks, graphs and stacks that stay behind would end a run over a data set."""
    model, process = model_of(), psutil.Process()
    tensors, resident = [], []

    for call in range(1, 201):
        explain(model, "plot", ("fused", "flow")[call % 2], n_steps=2, detail=())
        if call in (20, 110, 200):
            gc.collect()
            tensors.append(sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects()))
            resident.append(process.memory_info().rss)

    assert all(later <= earlier for earlier, later in pairwise(tensors))
    # the allocator keeps pages of its own; 180 runs that left one layer's tensors behind would hold over 20 MB
    assert resident[-1] - resident[0] < 8 * 2**20


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ca-ligg"}, "method='ca-ligg' is not known; .*Did you mean 'ca-lig'"),
        ({"baseline": "masc"}, "baseline='masc' is not known; .*Did you mean 'mask'"),
        ({"baseline": ()}, "baseline is empty; give some of auto, recommended, zero, mean, "),
        ({"path": "inputs"}, "path='inputs' is not known; choose from 'input', 'layer'"),
        ({"fusion": 1.5}, "fusion=1.5 must be a number from 0"),
        ({"fusion": "best"}, "fusion='best' must be a number or 'auto'"),
        ({"aggregate": "mean"}, "aggregate='mean' is not known"),
        ({"detail": "layers"}, "detail='layers' is not known"),
        ({"nodes": "random"}, "nodes='random' is not known"),
        (
            {"nodes": "stochastic"},
            "draws n_steps nodes, two in each part of the path; n_steps=None must be an even number",
        ),
        ({"nodes": "stochastic", "n_steps": 7}, "n_steps=7 must be an even number, at least 4"),
        ({"layer_weights": "upper-half"}, "layer_weights='upper-half' is not known; .*Did you mean 'lower-half'"),
        ({"layer_weights": (0.0, 0.0, 0.0)}, "must be finite numbers, not all of them zero"),
        ({"layer_weights": (float("nan"), 1.0, 0.0)}, "must be finite numbers"),
        ({"layer_weights": (1.0, 2.0)}, "layer_weights has 2 numbers; this model has 3 layers"),
        (
            {"layer_weights": (1.0, 0.0, 0.0), "aggregate": "last"},
            "weigh the sum over layers; aggregate='last' has none",
        ),
        ({"tol": 0.0}, "tol=0.0 must be a number between 0 and 1"),
        ({"n_steps": 0}, "n_steps=0 must be a whole number"),
        ({"max_steps": 0}, "max_steps=0 must be a whole number"),
        ({"memory": "much"}, "memory"),
        ({"target": "great"}, "'great' is none of this model's classes"),
    ],
)
def test_an_option_that_is_not_known_is_refused(options, message):
    """Given, expected, next step; in one line."""
    with pytest.raises(OptionError, match=message) as caught:
        lignite.explain(model_of(), TEXTS[0], **({"method": "ca-lig"} | options))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("", "empty"),
        ([], "empty|no input|nothing"),
        ("the plot " * 30, r"tokens.*40"),
        (7, "int"),
        ({"attention_mask": torch.ones(1, 3, dtype=torch.long)}, "input_ids"),
    ],
    ids=["empty text", "empty list", "too long", "number", "no ids"],
)
def test_an_input_that_cannot_be_explained_is_refused(inputs, message):
    """Nothing is ever truncated."""
    with pytest.raises(LigniteError, match=message) as caught:
        lignite.explain(model_of(), inputs)

    assert "\n" not in str(caught.value)


def test_baselines_of_tokens_need_the_token():
    """The message names what works without."""
    model = headed("gpt2", "GPT2LMHeadModel", tokenizer=byte_level(), n_positions=60)

    with pytest.raises(
        OptionError, match=r"has no mask token.*use 'pad'. As a baseline, 'mean-embedding' needs no token"
    ):
        lignite.explain(model, "it was thin", baseline="mask")
    with pytest.raises(OptionError, match="neither mask nor pad"):
        lignite.explain(lignite.wrap(model.network), {"input_ids": torch.tensor([[4, 5]])}, baseline="mask")
    lignite.explain(model, "it was thin", baseline="pad")


def test_a_model_without_attention_weights_is_explained_by_content_alone():
    """Fusion needs them, and says so; layer-wise integrated gradients do not."""
    model = headed("mamba", "MambaForCausalLM", dtype=torch.float32)

    why = lignite.explain(model, TEXTS[0], method="ca-lig")

    assert "attention_gradient" not in why
    assert_allclose(why.layer_ig.sum("token"), why.displacement + why.gap, rtol=0, atol=1e-5)
    with pytest.raises(OptionError, match="shows no attention weights"):
        lignite.explain(model, TEXTS[0], method="ca-lig", fusion=0.5)


def test_an_image_is_explained_by_its_patches():
    """From zero or their mean: patches are no words that a token could stand for."""
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4
    )
    model = lignite.wrap(transformers.ViTForImageClassification(config).double().eval())
    image = {"pixel_values": torch.randn(1, 3, 8, 8, dtype=torch.float64)}

    why = lignite.explain(model, image, baseline="mean", tol=1e-2)

    assert why.sizes["token"] == 5
    with pytest.raises(OptionError, match="baseline='mask' needs a mask token, and ViTForImageClassification has none"):
        lignite.explain(model, image, baseline="mask")
    with pytest.raises(OptionError, match="baseline='pad' replaces words, and this input has none"):
        lignite.explain(model, image, baseline="pad")


@pytest.mark.wide
@pytest.mark.parametrize("path", ["input", "layer"])
def test_memory_and_company_change_no_adaptive_result(path):
    """How much is computed at once, and beside what, decides neither where nodes are placed nor how many."""
    model = lignite.load("tiny-sentiment")
    texts = ["The plot was thin, but the acting was superb.", "A superb film, though not without its lengths."]
    options = {"method": "ca-lig", "path": path, "tol": 1e-4}

    together = lignite.explain(model, texts, memory="1 GiB", **options)
    for text, beside in zip(texts, together, strict=True):
        alone = lignite.explain(model, text, memory="100 kB", **options)

        assert alone.attrs["plans"] == beside.attrs["plans"]
        assert_allclose(alone.layer_ig, beside.layer_ig, rtol=0, atol=1e-5)  # float32 sums in another order


@pytest.mark.parametrize(
    ("tokens", "known"),
    [("mask", ["mask", "pad"]), ("pad", ["pad"]), ("end", ["mean-embedding"]), ("none", ["mean-embedding"])],
)
@pytest.mark.parametrize("method", ["relevance-flow", "ca-lig"])
def test_the_baseline_that_a_model_has_is_taken_and_named(tokens, known, method):
    """Decoders know no mask, and what they pad with often ends texts: to them a word. The result says from where.

    The default averages all that there are, other methods take the first.
    """
    expected = known if method == "relevance-flow" else known[:1]
    bundled = lignite.load("tiny-sentiment")
    tokenizer = {"mask": bundled.tokenizer, "pad": sentence_piece(), "end": byte_level(), "none": None}[tokens]
    model = lignite.wrap(bundled.network, tokenizer)
    inputs = {"input_ids": torch.tensor([[2, 40, 41, 42, 3]])}

    why = lignite.explain(model, inputs, **({} if method == "relevance-flow" else {"method": method}))
    asked = lignite.explain(model, inputs, baseline=expected, method=method)

    assert json.loads(why.attrs["request"])["baseline"] == expected
    assert_allclose(why.relevance, asked.relevance, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["auto", "recommended"])
def test_what_the_model_decides_is_no_baseline_beside_others(name):
    """It stands for one of them."""
    with pytest.raises(OptionError, match=f"'{name}' is one of the others"):
        lignite.explain(lignite.load("tiny-sentiment"), "A superb film.", baseline=(name, "pad"))


@pytest.mark.parametrize(("method", "expected"), [("ig", ["mask"]), ("relevance-flow", ["mask", "pad"])])
def test_the_recommended_baseline_is_that_of_measurements(method, expected):
    """A BERT has both tokens; the result names what was taken, and its numbers are those of that name."""
    model = lignite.load("tiny-sentiment")

    why = lignite.explain(model, "A superb film.", method=method, baseline="recommended")
    asked = lignite.explain(model, "A superb film.", method=method, baseline=expected)

    assert json.loads(why.attrs["request"])["baseline"] == expected
    assert_allclose(why.relevance, asked.relevance, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig"])
def test_a_result_says_what_the_model_says_of_the_start(method):
    """Zero relevance means "as at the start": its reader must see whether that is neutral. Means over baselines."""
    model = headed("bert", "BertForSequenceClassification")
    text = "the plot was thin"
    encoding = model.tokenizer(text, return_tensors="pt")
    said = []
    for token in (model.tokenizer.mask_token_id, model.tokenizer.pad_token_id):
        ids = encoding["input_ids"].clone()
        ids[0, 1:-1] = token
        with torch.no_grad():
            said.append(model.network(**{**encoding, "input_ids": ids}).logits[0])

    both = lignite.explain(model, text, baseline=("mask", "pad"), method=method)
    of_states = lignite.explain(model, text, baseline=("mask", "zero"), method=method)

    assert_allclose(both.start_logit, torch.stack(said).mean(0), rtol=1e-6)
    assert_allclose(both.start_probability, torch.stack(said).softmax(1).mean(0), rtol=1e-6)
    assert both.start_probability.dims == ("class",)
    assert "start_logit" not in of_states  # an input that no model reads has no answer
