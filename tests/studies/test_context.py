"""A model that counts words does not care where they stand, one that counts their places does; so do explanations."""

import numpy as np
import pytest
from tests.kit.bag_of_words import bag_of_words

import lignite
from lignite.data.sentences import Sentence
from lignite.errors import InputError, OptionError
from lignite.studies.context import Context
from lignite.views.study.context import report_context

WEIGHTS = {"fine": 9.0, "dull": -8.0, "plot": 1.0, "thin": -2.0, "acting": 3.0, "film": 0.5}
TEXT = "plot dull thin acting fine film"
EXACT = 1e-9


def asked(model: lignite.Model, text: str = TEXT, **options: object):
    return Context(methods="occlusion", **options).answer(model, Sentence(0, "a", None, text), {})


def test_a_model_that_counts_words_has_an_explanation_that_no_order_moves():
    """Neither the relevance of the words that stay nor the answer depends on where the others stand."""
    found = asked(bag_of_words(WEIGHTS)).sel({"method": "occlusion", "around": "all"})

    np.testing.assert_allclose(found["rank_correlation"], 1, atol=EXACT)
    for measure in ("l1", "value_change", "probability_change", "label_change"):
        np.testing.assert_allclose(found[measure], 0, atol=EXACT)


def test_a_model_that_counts_places_changes_its_answer_but_not_what_stays_in_its_place():
    """A word's part is its number times its place: those that stay keep theirs, the others' move the answer."""
    found = asked(bag_of_words(WEIGHTS, by_position=True)).sel({"method": "occlusion", "around": "all"})

    np.testing.assert_allclose(found["l1"], 0, atol=EXACT)
    assert float(found["value_change"]) > 0.5


def test_numbers_do_not_depend_on_other_sentences():
    """Orders are drawn for each sentence by itself."""
    model = bag_of_words(WEIGHTS, by_position=True)
    corpus = [TEXT, "thin dull acting plot fine film"]

    both, back = (lignite.study.context(model, some, methods="occlusion") for some in (corpus, corpus[::-1]))

    np.testing.assert_array_equal(both["value_change"].values, back["value_change"].values[::-1])


def test_a_sentence_without_words_to_move_is_left_out():
    """Two words stay; there is nothing around them."""
    with pytest.raises(InputError, match="too short"):
        asked(bag_of_words(WEIGHTS), "fine dull")


def test_methods_are_known_before_anything_is_asked():
    """A misspelt name costs no night."""
    with pytest.raises(OptionError, match="astrology"):
        Context(methods="ig,astrology")
    with pytest.raises(OptionError, match="methods is empty"):
        Context(methods=" ,")


def test_the_report_names_every_method(tmp_path):
    """Two methods, two contexts; what moved and what the model did."""
    model = bag_of_words(WEIGHTS, by_position=True)
    found = lignite.study.context(
        model, [TEXT, "thin dull acting plot fine film"], methods="occlusion,shapley:n_samples=2"
    )

    report = report_context(found)

    assert "occlusion 0.000" in report.findings[0]
    assert set(report.tables["moved"].frame["method"]) == {"occlusion", "shapley:n_samples=2"}
    assert tmp_path / "context.png" in lignite.study.write(found, tmp_path)
