"""Evidence by layer and kind of word, of a model whose relevance is known in every layer."""

import numpy as np
import pytest
import xarray as xr
from tests.kit.bag_of_words import bag_of_words
from tests.kit.headed_models import headed

import lignite
from lignite.data.sentences import Sentence
from lignite.studies import evidence_by_layer as module
from lignite.studies.evidence_by_layer import TYPES, Layers, type_of
from lignite.views.study.layers import by_class, report_layers

TREE = Sentence(0, "a", ("the", "plot", "was", "thin"), None, ("DET", "NOUN", "AUX", "ADJ"), (1, 3, 3, -1))

KNOWN = np.array(
    [  # [CLS] the plot was thin [SEP]
        [0.0, 0.0, 2.0, 0.0, -1.0, 1.0],
        [1.0, 1.0, 1.0, 0.0, -1.0, 0.0],
        [0.0, 4.0, 0.0, 0.0, 0.0, 0.0],
    ]
)


@pytest.fixture
def told(monkeypatch):
    """Every sentence of four words is explained by the numbers above."""

    def explain(model, given, **options):
        word = np.array([-1, 0, 1, 2, 3, -1])
        return xr.Dataset(
            {"layer_relevance": (("layer", "token"), KNOWN)},
            {"layer": [0, 1, 2], "word": ("token", word)},
            {"prediction": "positive" if given["words"][0] == "the" else "negative"},
        )

    monkeypatch.setattr(module, "explain", explain)
    return Layers().answer(bag_of_words({"plot": 1.0}), TREE, {})


def test_shares_of_sides_and_kinds_add_up_and_are_those_of_the_words(told):
    """In the lowest layer a noun has two of four for, an adjective one against, the end of the text one for."""
    lowest = told["evidence"].sel(layer=0)

    np.testing.assert_allclose(told["evidence"].sum(["side", "type"]), 1)
    assert float(lowest.sel(side="for", type="noun")) == 2 / 4
    assert float(lowest.sel(side="against", type="adjective")) == 1 / 4
    assert float(lowest.sel(side="for", type="special")) == 1 / 4
    assert float(told["evidence"].sel(layer=1, side="for", type="function word")) == 1 / 4
    assert float(told["evidence"].sel(layer=2, side="for", type="function word")) == 1


def test_likeness_is_that_of_ranks_of_words(told):
    """Special tokens take no part; a layer is like itself."""
    np.testing.assert_allclose(told["inherited"].sel(layer=0), 1)
    np.testing.assert_allclose(told["settled"].sel(layer=2), 1)
    # ranks of (0, 2, 0, -1) and (4, 0, 0, 0): with means over ties
    expected = np.corrcoef([2.5, 4, 2.5, 1], [4, 2, 2, 2])[0, 1]
    np.testing.assert_allclose(told["settled"].sel(layer=0), expected)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("NOUN", "noun"), ("NNS", "noun"), ("VBD", "verb"), ("AUX", "verb"), ("ADJ", "adjective"),
     ("ADP", "function word"), ("ADV", "adverb"), ("RP", "function word"), ("RBR", "adverb"), ("PRP$", "function word"),
     ("PUNCT", "other"), ("POS", "function word"), ("", "other"), ("CD", "other")],
)  # fmt: skip
def test_tags_of_both_treebanks_are_told_by_kind(tag, expected):
    """Universal Dependencies and Penn; what is neither is another word."""
    assert type_of(tag) == expected


def test_a_real_model_is_explained_in_every_layer(tmp_path):
    """Shares add up in each of its layers, whatever it predicts; files are written."""
    model = headed("bert", "BertForSequenceClassification")

    found = lignite.study.layers(model, [TREE, ["people", "says", "nothing"]], method="ca-lig", tol=0.05)

    np.testing.assert_allclose(found["evidence"].sum(["side", "type"]), 1)
    assert found["prediction"].dims == ("sentence",)
    assert {path.name for path in lignite.study.write(found, tmp_path)} >= {"evidence.png", "sides.csv", "types.tex"}


def test_the_report_tells_classes_apart(told):
    """One sentence of each class; what speaks against a prediction is a quarter of the lowest layer."""
    other = told.assign(prediction=((), "negative"))
    found = xr.concat([told, other], "sentence").assign_coords(sentence=["a", "b"])

    classes, report = by_class(found), report_layers(found)

    assert {name: one.sizes["sentence"] for name, one in classes.items()} == {"all": 2, "negative": 1, "positive": 1}
    assert report.findings[0].startswith("All predictions (2 sentences): 0.250 [0.250, 0.250] of relevance")
    assert list(report.tables["types"].frame["type"][: len(TYPES)]) == list(TYPES)
