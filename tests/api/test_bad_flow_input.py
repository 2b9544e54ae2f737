"""What cannot be computed as asked is refused in one line that says what was given and what to do."""

import inspect
import json
import re
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from tests.kit.architectures import ARCHITECTURES
from tests.kit.tiny_tokenizers import byte_level, word_piece
from torch import nn
from transformers import BertModel, PreTrainedConfig, PreTrainedModel

import lignite
from lignite.errors import GapWarning, InputError, LigniteError, ModelError, NotFiniteError, OptionError

TEXT = "the plot was thin"


@pytest.fixture(autouse=True)
def _without_checked_annotations():
    """Users run without them, so that a value of the wrong type comes as far as lignite's own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def model() -> lignite.Model:
    bert, tokenizer = ARCHITECTURES["bert"], word_piece()
    short = replace(bert, config={**bert.config, "vocab_size": len(tokenizer), "max_position_embeddings": 12})
    return lignite.wrap(short.build(dtype=torch.float32), tokenizer)


def refusal(error: type[LigniteError], model, inputs=TEXT, **options) -> str:
    """The message, which is one line and ends like a sentence."""
    with pytest.raises(error) as caught:
        lignite.flow(model, inputs, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


# Options


@pytest.mark.parametrize(
    ("option", "given", "known"),
    [
        ("maps", "atention", "attention"),
        ("baseline", "targettoken", "target_token"),
        ("mlp_baseline", "zeros", "zero"),
        ("self_term", "zero-ratio", "zero_ratio"),
        ("readout", "projected", "projection"),
        ("composition", "conserve", "conserving"),
        ("detail", "head", "heads"),
        ("plan", "share", "shared"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(model, option, given, known):
    """A misspelt option that was ignored would give numbers that nobody asked for."""
    message = refusal(OptionError, model, **{option: given})

    assert f"{option}={given!r} is not known" in message
    assert f"Did you mean {known!r}?" in message


def test_an_unknown_option_is_refused(model):
    """And the nearest that is known is named."""
    with pytest.raises(OptionError, match=r"no option 'n_step'.*Did you mean 'n_steps'"):
        lignite.flow(model, TEXT, n_step=3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"maps": ()}, "maps is empty"),
        ({"maps": 3}, "a name or several names"),
        ({"tol": 0}, "between 0 and 1"),
        ({"tol": 1.5}, "between 0 and 1"),
        ({"tol": float("nan")}, "between 0 and 1"),
        ({"tol": "small"}, "give a number"),
        ({"n_steps": 0}, "at least 1"),
        ({"n_steps": 2.5}, "whole number"),
        ({"n_steps": -3}, "at least 1"),
        ({"max_steps": 0}, "at least 1"),
        ({"n_steps": True}, "whole number"),
        ({"max_steps": "many"}, "whole number"),
        ({"layers": 3}, "layers 0 to 2"),
        ({"layers": [0, -4]}, "layers 0 to 2"),
        ({"layers": 0.5}, "whole number"),
        ({"layers": "all"}, "whole number"),
        ({"layers": []}, "whole number"),
        ({"layers": float("inf")}, "whole number"),
        ({"layers": (number for number in (0, 1.5))}, "whole number"),
        ({"layers": torch.tensor([0.5, 1])}, "whole number"),
        ({"targets": 6}, "0 to 5"),
        ({"targets": -1}, "0 to 5"),
        ({"targets": [1, 77]}, "0 to 5"),
        ({"targets": "plot"}, "whole number"),
        ({"targets": [True, False, True, False, False, False]}, "whole number"),
        ({"targets": np.arange(6) > 3}, "whole number"),
        ({"targets": torch.arange(6) > 3}, "whole number"),
        ({"memory": "much"}, "2 GiB"),
        ({"memory": 0}, "2 GiB"),
        ({"memory": "-1 GB"}, "2 GiB"),
    ],
)
def test_an_impossible_value_is_answered_with_possible_ones(model, options, expected):
    """Each names the option and what it takes."""
    message = refusal(OptionError, model, **options)

    assert next(iter(options)) in message
    assert expected in message


@pytest.mark.parametrize("chosen", [range(1, 3), np.array([1, 2]), torch.tensor([1, 2]), (n for n in (2, 1))])
def test_numbers_may_come_in_any_collection(model, chosen):
    """Positions are looked up with numpy and torch, and both write numbers in types of their own."""
    result = lignite.flow(
        model, TEXT, targets=chosen, maps="whole", tol=np.float32(1e-2), n_steps=np.int64(2), max_steps=np.int32(64)
    )

    assert result.target.values.tolist() == [1, 2]
    options = json.loads(result.attrs["request"])
    assert (options["n_steps"], options["max_steps"]) == (2, 64)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"self_term": "zero_ratio", "baseline": "zero"}, "Leave self_term='measured'"),
        ({"self_term": "map_ratio", "baseline": "mean"}, "Leave self_term='measured'"),
        ({"self_term": "map_ratio", "detail": "heads"}, "Ask for one of the two"),
        ({"detail": "heads", "maps": "attention"}, "add it to maps"),
        ({"plan": "definition", "detail": "heads"}, "Leave one of the two out"),
        ({"plan": "definition", "detail": "circuits"}, "Leave one of the two out"),
        ({"plan": "shared"}, "baseline that all targets share"),
        ({"plan": "closed-form", "baseline": "zero"}, "share one path"),
        ({"plan": "target-batches", "baseline": "mean"}, "share one path"),
    ],
)
def test_options_that_contradict_each_other_are_refused(model, options, expected):
    """Neither is ignored for the other."""
    assert expected in refusal(OptionError, model, **options)


@pytest.mark.parametrize("shape", [(7,), (5, 24), (24, 6), (2, 6, 24), (3, 6, 7), (1, 3, 6, 24), ()])
def test_a_baseline_of_the_wrong_shape_is_answered_with_the_right_ones(model, shape):
    """A shape that happens to broadcast would be a baseline that nobody chose."""
    message = refusal(OptionError, model, baseline=torch.zeros(shape))

    assert str(list(shape)) in message
    assert "[24]" in message
    assert "[6, 24]" in message
    assert "[3, 6, 24]" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_baseline_must_be_finite(model, value):
    """One NaN would spread to every score."""
    assert "finite" in refusal(OptionError, model, baseline=np.full(24, value))


@pytest.mark.parametrize("baseline", ["pad", "mask"])
def test_a_token_baseline_needs_a_tokenizer_with_that_token(model, baseline):
    """GPT-2's has no mask, and a model alone has nothing."""
    bare = lignite.wrap(model.network)
    gpt2 = ARCHITECTURES["gpt2"]
    network = replace(gpt2, config={**gpt2.config, "vocab_size": 300}).build(dtype=torch.float32)

    message = refusal(OptionError, bare, {"input_ids": torch.tensor([[5, 6, 7]])}, baseline=baseline)
    without_mask = refusal(OptionError, lignite.wrap(network, byte_level()), "it was", baseline="mask")

    assert f"has no {baseline} token" in message
    assert "use 'target_token', 'zero' or 'mean'" in without_mask


@pytest.mark.parametrize(("name", "options", "expected"), [
    ("deberta-v2", {"plan": "closed-form"}, "projection"),
    ("deberta-v2", {"detail": "circuits"}, "bypasses"),
    ("deberta-v2", {"self_term": "map_ratio"}, "attention weights"),
    ("olmo", {"plan": "closed-form"}, "does not hold"),
    ("mamba", {}, "maps=('whole',)"),
])  # fmt: skip
def test_what_a_block_does_not_offer_is_refused(name, options, expected):
    """Only the block knows, so this is found out in the middle of a run."""
    architecture = ARCHITECTURES[name]

    wrapped = lignite.wrap(architecture.build(dtype=torch.float32))

    assert expected in refusal(OptionError, wrapped, architecture.inputs(length=4), **options)


# Inputs


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_text_is_refused(model, text):
    """Special tokens alone would be explained as if they were a text."""
    assert "empty" in refusal(InputError, model, text)


def test_a_text_that_is_too_long_is_refused_and_not_cut(model):
    """What was cut off could not be explained; the message says how much there is room for."""
    message = refusal(InputError, model, "the plot " * 20)

    assert re.search(r"has 42 tokens.*at most 12", message)


@pytest.mark.parametrize("inputs", [3, None, b"bytes", ("a", "b", "c"), [], [TEXT, ""], {"ids": torch.ones(1, 3)}])
def test_inputs_of_another_kind_are_refused(model, inputs):
    """Also where only one of a list is wrong: no result is better than some without saying which."""
    refusal(InputError, model, inputs)


@pytest.mark.parametrize(
    "inputs",
    [
        {"input_ids": torch.tensor([[5, 6, 999]])},
        {"input_ids": torch.tensor([[5, -6, 9]])},
        {"input_ids": torch.tensor([[5, 6, 9]]), "attention_mask": torch.zeros(1, 3, dtype=torch.long)},
        {"input_ids": torch.full((1, 13), 5)},
    ],
    ids=["unknown id", "negative id", "nothing but padding", "too long"],
)
def test_tensors_the_model_cannot_read_are_refused(model, inputs):
    """The network itself would fail with an index error, or not at all."""
    refusal(InputError, model, inputs)


def test_a_target_that_is_padding_is_refused(model):
    """Padding receives nothing that anybody reads."""
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}

    assert "targets=[3] are not in this input, whose tokens without padding are 0 to 2" in refusal(
        OptionError, model, inputs, targets=3
    )


@pytest.mark.parametrize("given", ["bert-base", BertModel])
def test_a_model_that_was_not_loaded_is_refused(given):
    """The name of a model is not the model."""
    assert "lignite.load" in refusal(ModelError, given)


# Models


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("weight", ["encoder.layer.1.output.dense.weight", "embeddings.word_embeddings.weight"])
def test_a_broken_weight_is_named(weight, value):
    """NaN in, NaN out is true and of no use."""
    network = ARCHITECTURES["bert"].build(dtype=torch.float32)
    with torch.no_grad():
        network.get_parameter(weight)[0, 0] = value
        network.get_parameter(weight)[5, 0] = value
    ids = {"input_ids": torch.tensor([[5, 6, 7]])}

    assert weight in refusal(NotFiniteError, lignite.wrap(network), ids)


class Flat(PreTrainedModel):
    """A model without a list of blocks."""

    config_class = PreTrainedConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.embedding, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask=None):
        return self.layer(self.embedding(input_ids))


class Narrowing(Flat):
    """Blocks that change the width of their states."""

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 2)])

    def forward(self, input_ids, attention_mask=None):
        states = self.embedding(input_ids)
        for layer in self.layers:
            states = layer(states)
        return states


@pytest.mark.parametrize(("kind", "expected"), [(Flat, "has no list of blocks"), (Narrowing, "same shape")])
def test_a_model_without_blocks_is_refused(kind, expected):
    """There is nothing that maps states to states."""
    network = kind(PreTrainedConfig()).eval()

    assert expected in refusal(ModelError, lignite.wrap(network), {"input_ids": torch.tensor([[1, 2, 3]])})


# Warnings


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"n_steps": 1}, "Raise n_steps above 1"),
        ({"max_steps": 6, "tol": 1e-7}, "Raise max_steps above 6"),
        ({"max_steps": 6, "tol": 1e-7, "baseline": "zero"}, "target_token"),
    ],
)
def test_scores_that_miss_are_warned_about_once_with_a_remedy(model, options, remedy):
    """A gap is never silent; one warning per call names layers, maps and tokens."""
    with pytest.warns(GapWarning) as caught:
        lignite.flow(model, [TEXT, TEXT], **options)

    assert len(caught) == 1
    message = str(caught[0].message)
    assert remedy in message
    assert re.search(r"layer \d, (attention|mlp|whole): '.+' \(\d\)", message)
    assert "\n" not in message


def test_the_warning_points_at_the_call(model):
    """A warning that points into the library does not tell which run it is about."""
    flow = inspect.unwrap(lignite.flow)  # checks of annotations put a call of their own between

    with pytest.warns(GapWarning) as caught:
        flow(model, TEXT, n_steps=1)

    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error::lignite.errors.GapWarning")
@pytest.mark.parametrize(("length", "targets"), [(2, None), (5, [0]), (5, [0, 1])])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_target_that_sees_itself_alone_is_no_reason_to_warn(name, length, targets):
    """It rests, whoever is asked about beside it: rounding is no score, and no node could bring it to nothing."""
    architecture = ARCHITECTURES[name]
    decoder = lignite.wrap(architecture.build(dtype=torch.float32))

    result = lignite.flow(decoder, architecture.inputs(length=length), targets=targets)

    first = result.sel(target=0)
    assert all(not first[name].values.any() for name in ("attention", "mlp", "whole", "composed", "whole_gap"))


def test_a_mixture_of_experts_is_told_what_its_gap_is():
    """More nodes never close the gap that a jump between experts leaves: the usual advice would waste hours."""
    architecture = ARCHITECTURES["mixtral"]
    model = lignite.wrap(architecture.build(seed=0, dtype=torch.float32))

    with pytest.warns(GapWarning, match="experts are chosen anew"):
        lignite.flow(model, architecture.inputs(seed=1), baseline="zero", maps="mlp", max_steps=64)


def test_a_baseline_that_is_no_name_and_no_tensor_is_refused_by_its_kind(model):
    """A list of numbers would be printed whole."""
    with pytest.raises(OptionError, match=r"baseline=.{1,130} is not known; choose from 'target_token'"):
        lignite.flow(model, TEXT, baseline=[0.0] * 1000)
