"""Tensors reach the model as they were given: its own answer to them is the one that is explained."""

import pytest
import torch
from tests.headed_models import headed
from tests.tiny_tokenizers import byte_level
from torch.testing import assert_close
from transformers import GPT2Config, GPT2ForSequenceClassification

import lignite
from lignite.errors import InputError, OptionError

TEXT = "the plot was thin, but acting was superb"


@pytest.fixture(scope="module")
def model():
    return headed("bert", "BertForSequenceClassification", max_position_embeddings=40)


def own_answer(model, given):
    with torch.no_grad():
        return model.network(**given).logits[0]


def hidden(given):
    given["attention_mask"][0, 3] = 0
    return given


def hidden_in_decimals(given):
    return {**given, "attention_mask": hidden(given)["attention_mask"].double()}


def padded_left(given):
    """Three pads in front: BERT counts them among its positions."""
    front = {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0}
    return {name: torch.nn.functional.pad(tensor, (3, 0), value=front[name]) for name, tensor in given.items()}


def counted_otherwise(given):
    return {**given, "position_ids": torch.arange(20, 20 + given["input_ids"].shape[1])[None]}


def of_two_segments(given):
    given["token_type_ids"][0, 5:] = 1
    return given


@pytest.mark.parametrize("edit", [hidden, hidden_in_decimals, padded_left, counted_otherwise, of_two_segments])
def test_tensors_are_explained_as_the_model_answers_them(model, edit):
    """Nothing is counted, shifted or dropped on the way: masks with holes, padding in front, positions, segments."""
    given = edit(dict(model.tokenizer(TEXT, return_tensors="pt")))

    why = lignite.explain(model, given, target=1, n_steps=2, baseline="mask", method="saliency")

    assert_close(why.value, own_answer(model, given)[1].item(), rtol=1e-5, atol=1e-6)  # float32
    encoded = model.encode(given)[0].tensors
    assert encoded.keys() == given.keys()


@pytest.mark.parametrize(
    "convert",
    [
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor[0].tolist(),
        lambda tensor: tensor.numpy(),
        lambda tensor: [tensor[0].numpy()],
        lambda tensor: [tensor[0]],
        lambda tensor: tensor.int(),
        lambda tensor: tensor.bool() if tensor.max() == 1 and tensor.min() == 1 else tensor,
    ],
    ids=["lists", "one-list", "array", "list-of-arrays", "list-of-tensors", "int32", "bool-mask"],
)
def test_numbers_may_come_in_any_container(model, convert):
    """The same numbers are the same input."""
    given = dict(model.tokenizer(TEXT, return_tensors="pt"))

    (encoded,) = model.encode({name: convert(tensor) for name, tensor in given.items()})

    for name, tensor in given.items():
        assert_close(encoded.tensors[name], tensor, rtol=0, atol=0)


def test_rows_of_several_lengths_are_several_inputs(model):
    """Tokenizers return lists of lists without padding; each row is read with its own words."""
    texts = ["the plot", TEXT, "thin"]

    encoded = model.encode(model.tokenizer(texts))

    alone = [model.encode(text)[0] for text in texts]
    for row, other in zip(encoded, alone, strict=True):
        assert row.tokens.word == other.tokens.word
        assert_close(row.tensors, other.tensors, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"attention_mask": [[1, 0.5, 1]]}, r"attention_mask holds 0\.5: give 1 for every token to read"),
        ({"attention_mask": [[0.0, 0.0, -3e38]]}, "attention_mask holds -3"),
        ({"attention_mask": [[[[1, 1, 1]] * 3]]}, "one number per token"),
        ({"token_type_ids": [[0, 0, 7]]}, "token_type_ids from 0 to 7 are not 0 to 1"),
        ({"position_ids": [[0, 1, 40]]}, "position_ids from 0 to 40 are not 0 to 39"),
        ({"position_ids": [[-1, 0, 1]]}, "position_ids from -1 to 1"),
        ({"position_ids": [[0.0, 1, 2]]}, "whole numbers"),
        ({"input_ids": [[True, True, False]]}, "whole numbers"),
        ({"input_ids": [[5, 6, 2**70]]}, "no tensor"),
        ({"input_ids": [[5, 6], [7]], "attention_mask": [[1, 1]]}, "number of rows"),
    ],
)
def test_numbers_that_the_model_cannot_read_are_refused(model, edit, message):
    """Before they fail deep in a table, or are read as something else than they mean."""
    with pytest.raises(InputError, match=message) as caught:
        model.encode({"input_ids": [[5, 6, 7]], **edit})

    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def unresized():
    """GPT-2 with a padding token that was added to its tokenizer alone, as forum answers advise."""
    tokenizer = byte_level()
    size = len(tokenizer)
    tokenizer.pad_token = None
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    torch.manual_seed(0)
    sizes = {"n_embd": 12, "n_layer": 2, "n_head": 2, "n_positions": 40, "num_labels": 2}
    config = GPT2Config(vocab_size=size, bos_token_id=0, eos_token_id=0, **sizes)
    return lignite.wrap(GPT2ForSequenceClassification(config).eval(), tokenizer)


def test_a_token_that_the_model_cannot_read_is_never_chosen(unresized):
    """Its id lies outside the embeddings: a baseline, a filler or padding of it would crash, on a GPU for good."""
    why = lignite.explain(unresized, "thin dull film", method="saliency")
    several = lignite.explain(unresized, ["thin dull film", "dull"], method="saliency")

    assert '"baseline": ["zero"]' in why.request
    alone = lignite.explain(unresized, "dull", method="saliency")
    assert_close(several[1].value, alone.value, rtol=1e-5, atol=1e-6)  # float32


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: lignite.explain(model, "thin film", baseline="pad"),
        lambda model: lignite.flow(model, "thin film", baseline="pad"),
        lambda model: lignite.explain(model, "thin film", method="shapley", baseline="pad"),
        lambda model: lignite.evaluate(model, ["thin film"], methods=("random",), fills="pad"),
    ],
)
def test_a_token_that_the_model_cannot_read_is_refused_by_name(unresized, ask):
    """With what makes room for it."""
    with pytest.raises(OptionError, match=r"cannot read its tokenizer's pad token '\[PAD\]'.*resize_token_embeddings"):
        ask(unresized)


def test_a_text_with_a_token_that_the_model_cannot_read_is_refused_by_name(unresized):
    """The id alone would send the user looking for another tokenizer."""
    with pytest.raises(InputError, match=r"token '\[PAD\]' \(\d+\) is outside.*resize_token_embeddings"):
        unresized.encode("thin[PAD]")
