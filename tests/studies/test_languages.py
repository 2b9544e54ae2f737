"""Two languages through one model whose explanations are known: what differs is what was made to differ."""

import json

import numpy as np
import pytest
import xarray as xr
from tests.kit.bag_of_words import bag_of_words
from tests.kit.headed_models import headed

import lignite
from lignite.data.sentences import Sentence
from lignite.errors import InputError
from lignite.metrics.readings.statistics import compare_groups
from lignite.studies import languages as module
from lignite.studies.languages import Languages, formed
from lignite.views.study.languages import report_languages

TEXT = "unbe lievable, thin"
LABELS = {  # [CLS] un ##be lievable , thin [SEP]
    "special": [True, False, False, False, False, False, True],
    "word": [-1, 0, 0, 1, 2, 3, -1],
    "start": [-1, 0, 2, 5, 13, 15, -1],
    "stop": [-1, 2, 4, 13, 14, 19, -1],
}
KNOWN = np.array(
    [
        [0.0, 1.0, 1.0, 2.0, -4.0, 0.0, 0.0],
        [2.0, 0.0, 1.0, 2.0, 0.0, 3.0, 0.0],
        [5.0, 0.0, 1.0, 2.0, 0.0, 3.0, 5.0],
    ]
)


@pytest.fixture
def told(monkeypatch):
    """Three words, four pieces of them, one comma; relevance is on two words alike."""

    def explain(model, given, **options):
        axes = {name: ("token", values) for name, values in LABELS.items()}
        data = {"layer_relevance": (("layer", "token"), KNOWN), "relevance": ("token", KNOWN[0])}
        return xr.Dataset(data, {"layer": [0, 1, 2], **axes}, {"prediction": "positive", "text": TEXT})

    monkeypatch.setattr(module, "explain", explain)
    return Languages().answer(bag_of_words({"thin": 1.0}), Sentence(0, "a", None, TEXT), {})


def test_words_are_counted_without_signs(told):
    """Four tokens of three words; the comma is none, though it is a token by itself."""
    assert float(told["fertility"]) == 4 / 3
    assert float(told["words"]) == 3
    assert float(told["token_share"].sel(kind="punctuation")) == 1 / 7
    assert float(told["token_share"].sel(kind="continuing")) == 1 / 7


def test_relevance_on_two_words_alike_is_that_of_two_words(told):
    """Two and two and nothing: two words, as even as ln 2 is of ln 3. The comma's four do not count."""
    np.testing.assert_allclose(told["sources"], 2)
    np.testing.assert_allclose(told["evenness"], np.log(2) / np.log(3))


def test_kinds_share_the_sizes_of_a_layer(told):
    """Half of the lowest layer is on the comma, an eighth on a second piece; ten of sixteen above on no word."""
    np.testing.assert_allclose(told["share"].sum("kind"), 1)
    assert float(told["share"].sel(layer=0, kind="punctuation")) == 4 / 8
    assert float(told["share"].sel(layer=0, kind="continuing")) == 1 / 8
    assert float(told["share"].sel(layer=2, kind="special")) == 10 / 16


def test_a_picture_has_formed_where_the_order_of_words_is_the_last(told):
    """Words' relevance is (2, 2, 0), (1, 2, 3), (1, 2, 3)."""
    np.testing.assert_allclose(told["settled"][1:], 1)
    assert float(told["settled"][0]) < 0
    assert float(told["formed"]) == 1
    assert formed(np.array([0.2, 0.95, 0.3, 1.0]), np.arange(4)) == 3
    assert np.isnan(formed(np.array([1.0, np.nan]), np.arange(2)))


def test_a_difference_of_groups_is_that_of_their_means():
    """By the theory of large samples: 1.96 standard errors of both; a tenth for what resampling adds."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(1.0, 1.0, 150), rng.normal(0.0, 3.0, 90)

    found = compare_groups([*one, np.nan], other)

    half = 1.96 * np.sqrt(one.var() / len(one) + other.var() / len(other))
    assert found.difference == pytest.approx(one.mean() - other.mean())
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=half / 10)
    assert (found.n, found.missing) == (240, 1)
    assert compare_groups(one, one).p > 0.9
    assert compare_groups(one, one + 9).p == 1e-4
    assert np.isnan(compare_groups(one, [1.0]).low)
    assert np.isnan(compare_groups(one, [np.nan]).difference)


def test_numbers_belong_to_the_language_of_their_example(tmp_path):
    """So many of every language are drawn; a run goes on with the same numbers, and files are written."""
    model = headed("bert", "BertForSequenceClassification")
    rows = [
        {"text": text, "language": name, "label": 0}
        for text, name in zip(
            ["the plot was thin", "people says", "the acting was thin", "it was", "people was thin"],
            "baaba",
            strict=True,
        )
    ]
    asked = {"limit": 2, "probed": 1, "method": "ca-lig", "tol": 0.05, "label": "label"}

    found = lignite.study.languages(model, rows, resume=tmp_path / "run.jsonl", **asked)
    again = lignite.study.languages(model, rows, resume=tmp_path / "run.jsonl", **asked)
    alone = Languages(method="ca-lig", tol=0.05).answer(model, Sentence(0, "b", None, "it was"), {})

    assert found["language"].values.tolist() == ["a", "a", "b", "b"]
    assert {path.name for path in tmp_path.iterdir()} == {"run.jsonl", "run-probed.jsonl", "run-words.jsonl"}
    xr.testing.assert_equal(found, again)
    xr.testing.assert_allclose(found["share"].sel(sentence="4", drop=True), alone["share"])
    report = report_languages(found)
    assert set(report.tables["numbers"].frame["language"]) == {"a", "b"}
    assert {path.name for path in lignite.study.write(found, tmp_path / "told")} >= {"languages.png", "differences.csv"}
    assert json.loads(found.attrs["request"])["limit"] == 2


def test_one_language_is_no_comparison():
    """The column is named, and what it holds."""
    with pytest.raises(InputError, match="column 'language' holds a alone"):
        lignite.study.languages(bag_of_words({"thin": 1.0}), [{"text": "thin", "language": "a"}])
    with pytest.raises(InputError, match="has no column 'tongue'"):
        lignite.study.languages(bag_of_words({"thin": 1.0}), [{"text": "thin"}], language="tongue")
