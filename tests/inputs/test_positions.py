"""A word that becomes the padding token moves no other one, in models that count positions from it, too."""

import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed

import lignite
from lignite.inputs.encode import encode
from lignite.targets.ask import ask
from lignite.targets.edits import replace_tokens
from lignite.targets.predict import predict

TEXT = "the plot was thin"
COUNTING = [
    ("roberta", "RobertaForSequenceClassification"),
    ("roberta", "XLMRobertaForSequenceClassification"),
]


@pytest.mark.parametrize(("name", "model_class"), COUNTING)
def test_kept_tokens_start_as_themselves_where_words_become_padding(name, model_class):
    """Special tokens that stay have nothing to explain at the first layer: their number is their own."""
    model = headed(name, model_class)

    why = lignite.explain(model, TEXT, target=1, baseline="pad")

    assert not why.layer_relevance.values[0][why.special.values].any()
    assert why.layer_relevance.values[0][~why.special.values].all()


@pytest.mark.parametrize(("name", "model_class"), [*COUNTING, ("bert", "BertForSequenceClassification")])
def test_edits_with_the_padding_token_leave_the_others_in_place(name, model_class):
    """Against the model itself, given its own positions; BERT counts from the left and needs none."""
    model = headed(name, model_class)
    (row,) = ask(model, TEXT, 1)

    edited = predict(model, [replace_tokens(row, [1, 2], model.tokenizer.pad_token_id)]).value

    given = model.tokenizer(TEXT, return_tensors="pt")
    first = model.tokenizer.pad_token_id + 1 if name == "roberta" else 0
    given["position_ids"] = first + torch.arange(given["input_ids"].shape[1])[None]
    given["input_ids"][0, 1:3] = model.tokenizer.pad_token_id
    with torch.no_grad():
        own = model.network(**given).logits[0, 1]
    assert_allclose(float(edited), float(own), rtol=0, atol=1e-9)


def test_positions_are_handed_over_only_where_they_would_be_counted_anew():
    """And never in the place of those that a user gives."""
    roberta, bert = headed(*COUNTING[0]), headed("bert", "BertForSequenceClassification")
    given = {"input_ids": torch.tensor([[2, 9, 10, 3]]), "position_ids": torch.tensor([[5, 6, 7, 8]])}

    (counted,), (kept,), (usual,) = encode(roberta, TEXT), encode(roberta, given), encode(bert, TEXT)

    first = roberta.tokenizer.pad_token_id + 1
    assert counted.tensors["position_ids"].tolist() == [list(range(first, first + len(counted.tokens)))]
    assert kept.tensors["position_ids"].tolist() == [[5, 6, 7, 8]]
    assert "position_ids" not in usual.tensors


def test_lists_of_counted_positions_are_explained_as_each_alone():
    """Padding beside a row has no number of its own to take."""
    model = headed(*COUNTING[0])
    texts = [TEXT, "it", "people says nothing at all"]

    together = lignite.explain(model, texts, target=1, method="ig", baseline="pad")

    for text, why in zip(texts, together, strict=True):
        alone = lignite.explain(model, text, target=1, method="ig", baseline="pad")
        assert_allclose(why.relevance, alone.relevance, rtol=0, atol=1e-7)
