"""Neutral fills: sums of known word numbers by hand, and the untouched network asked with a mask of its own."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tests.kit.bag_of_words import asked, bag_of_words, oracle
from tests.kit.headed_models import headed

from lignite.errors import InputError, OptionError
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.targets.ask import ask, predict
from lignite.targets.edits import hide_tokens, removable
from lignite.targets.fills import Unigram, check_fills

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of a handful of numbers of order ten
WEIGHTS = {"a": 8.0, "b": 4.0, "c": -2.0, "d": -1.0, "x": 0.5, "y": 3.0}
TEXT = "d a c b"
"""Relevant first: a, b, d, c. The logit falls from 9 to 1, −3, −2, 0, and rises from 0 to 8, 12, 11, 9."""


@pytest.fixture
def bag():
    return bag_of_words(WEIGHTS, pad=7.0, mask=5.0)


def curves(model, fill, corpus=None, text=TEXT):
    rows = asked(model, text)
    found = faithfulness(model, rows, oracle(model, rows), fills=fill, corpus=corpus, steps=4)
    return found.sel(output="logit").squeeze()


@pytest.mark.parametrize("fill", ["delete", "hide"])
def test_a_word_that_is_deleted_or_hidden_adds_nothing(bag, fill):
    """The logit is a sum over visible words; trapezoids give (0 + 8 + 12 + 11 + 9/2)/4 − (9/2 + 1 − 3 − 2 + 0)/4."""
    found = curves(bag, fill)

    assert_allclose(found.deletion_curve, [9, 1, -3, -2, 0], **EXACT)
    assert_allclose(found.insertion_minus_deletion, 8.75, **EXACT)


def test_a_drawn_word_adds_its_own_number(bag):
    """A corpus of one word leaves nothing to chance: each removed word becomes an x, which is worth a half."""
    found = curves(bag, "unigram", Unigram.of_texts(bag, ["x x"], draws=3))

    gone = np.arange(5)
    assert_allclose(found.deletion_curve, np.array([9, 1, -3, -2, 0]) + gone / 2, **EXACT)
    assert_allclose(found.insertion_minus_deletion, 8.75, **EXACT)  # both areas rise by the mean of what is gone / 2


def test_words_are_drawn_as_often_as_the_corpus_has_them(bag):
    """Three x and one y: a removed word is worth (3 · ½ + 3)/4 on average; 4000 drawings miss it by some 0.02."""
    unigram = Unigram.of_texts(bag, ["x x", "y x"], draws=1000)

    found = curves(bag, "unigram", unigram)

    assert_allclose(found.deletion_curve[-1] / 4, 1.125, atol=4 * 1.083 / np.sqrt(4000))  # four standard errors


def test_logits_and_probabilities_are_means_over_the_drawings(bag):
    """Of the numbers the network itself gives for the drawn texts; and a share of flips over drawings."""
    rows = asked(bag, TEXT)
    unigram = Unigram.of_texts(bag, ["a d c y"], draws=5, seed=3)
    drawn = unigram.drawn(rows[0])
    table = bag.network.get_input_embeddings().weight[:, 0]

    found = faithfulness(bag, rows, oracle(bag, rows), fills="unigram", corpus=unigram, steps=1).squeeze()

    logits = table[drawn[:, 1:-1]].sum(1).detach()  # every word drawn
    assert_allclose(found.deletion_curve.sel(output="logit", step=1), logits.mean(), **EXACT)
    assert_allclose(found.deletion_curve.sel(output="probability", step=1), logits.sigmoid().mean(), **EXACT)
    assert_allclose(found.flipped, (logits < 0).double().mean(), **EXACT)
    assert 0 < float(found.flipped) < 1  # or else it would show nothing


def test_every_method_and_every_question_meets_the_same_drawn_words(bag):
    """The logit is a sum, so what a place gains by losing its word may not depend on which others lost theirs."""
    rows = asked(bag, TEXT, "b a", TEXT)
    one, other = oracle(bag, rows), [-each for each in oracle(bag, rows)]
    unigram = Unigram.of_texts(bag, ["a b c d x y"])

    found = faithfulness(bag, rows, {"one": one, "other": other}, fills="unigram", corpus=unigram, steps=4)

    logit = found.sel(output="logit", fill="unigram")
    first, last = logit.isel(method=0, example=0), logit.isel(method=1, example=0)
    assert_allclose(first.insertion_curve[::-1], last.deletion_curve, **EXACT)  # the same sets of words are gone
    gains = first.deletion_curve.diff("step").values
    assert_allclose(last.deletion_curve[1:], float(last.deletion_curve[0]) + np.cumsum(gains[::-1]), **EXACT)
    assert_array_equal(logit.isel(example=0).deletion_curve, logit.isel(example=2).deletion_curve)


def test_special_tokens_are_never_drawn(bag):
    """Also where the corpus spells them out."""
    drawn = Unigram.of_texts(bag, ["[MASK] [PAD] [SEP] x"], draws=50).drawn(asked(bag, TEXT)[0])

    assert set(drawn.unique().tolist()) == set(bag.tokenizer.convert_tokens_to_ids(["x"]))


def test_drawings_depend_on_the_seed_and_the_text(bag):
    """And on nothing else: another object, another time."""
    row, other = asked(bag, TEXT, "a b c d")
    texts = ["a b c d x y"]

    first = Unigram.of_texts(bag, texts, seed=1).drawn(row)

    assert_array_equal(first, Unigram.of_texts(bag, texts, seed=1).drawn(asked(bag, TEXT)[0]))
    assert not torch.equal(first, Unigram.of_texts(bag, texts, seed=2).drawn(row))
    assert not torch.equal(first, Unigram.of_texts(bag, texts, seed=1).drawn(other))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("bert", "BertForSequenceClassification"),
        ("roberta", "RobertaForSequenceClassification"),
        ("llama", "LlamaForCausalLM"),
    ],
)
def test_hidden_words_are_those_of_a_zero_in_the_attention_mask(name, made):
    """The network is asked directly, with a mask of the test's own; a longer row beside it changes nothing."""
    model = headed(name, made)
    row, longer = ask(model, ["the plot was thin", "the plot was thin, but the acting was nothing"])
    places = removable(row)[1:3]
    mask = torch.ones_like(row.encoded.tensors["input_ids"])
    mask[0, places] = 0
    with torch.no_grad():
        logits = model.network(**{**row.encoded.tensors, "attention_mask": mask}).logits[0]
    expected = (logits[-1] if logits.ndim == 2 else logits)[row.objective.index]

    found = predict(model, [hide_tokens(row, places), row, longer]).value

    assert check_fills(model, "hide", row=row) == ("hide",)
    assert_allclose(found[0], expected, rtol=1e-9)  # float64 sums in another order
    assert abs(found[0] - found[1]) > 1e-6


def test_a_model_that_sees_hidden_words_is_refused(bag, monkeypatch):
    """Its answer depends on words that it was told not to see: then hiding them removes nothing."""
    forward = type(bag.network).forward
    monkeypatch.setattr(
        type(bag.network),
        "forward",
        lambda self, input_ids, attention_mask, return_dict=True: forward(
            self, input_ids, torch.ones_like(attention_mask)
        ),
    )
    row = asked(bag, TEXT)[0]

    with pytest.raises(
        OptionError, match="fills='hide' needs an attention mask that hides words, and bag of words answ"
    ):
        check_fills(bag, "hide", row=row)
    assert check_fills(bag, "neutral", row=row) == ("delete", "unigram")


def test_a_model_that_counts_positions_by_the_mask_is_refused():
    """OPT numbers the words that are seen: hiding one would move all behind it."""
    model = headed("opt", "OPTForCausalLM")
    (row,) = ask(model, ["the plot was thin"])

    with pytest.raises(
        OptionError, match="OPTForCausalLM counts positions anew where words are hidden; use 'delete' or"
    ):
        check_fills(model, "hide", row=row)


def test_neutral_is_what_the_model_can_do(bag):
    """All three for most; without a special token that stays, a text cannot be emptied."""
    bare = bag_of_words(WEIGHTS, special=False)

    assert check_fills(bag, "neutral", row=asked(bag, TEXT)[0]) == ("delete", "hide", "unigram")
    assert check_fills(bag, ("mask", "neutral"), row=asked(bag, TEXT)[0]) == ("mask", "delete", "hide", "unigram")
    assert check_fills(bare, "neutral", row=asked(bare, TEXT)[0]) == ("unigram",)
    with pytest.raises(OptionError, match="fills='hide' would leave nothing of row 0"):
        faithfulness(bare, asked(bare, "a b"), [np.zeros(2)], fills="hide")


@pytest.mark.parametrize("texts", [["", "[SEP]"], []])
def test_a_corpus_without_words_is_refused(bag, texts):
    """Nothing can be drawn from it."""
    with pytest.raises(InputError, match="this one has none"):
        Unigram.of_texts(bag, texts)
