"""Texts in windows: what is cut, what is put together, and that nothing is lost at the seams."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed

import lignite
from lignite.api.windows import cut
from lignite.errors import InputError, OptionError
from lignite.targets.objective import chances

SHORT = "A superb film, though thin."
LONG = (
    "The plot was thin, but the acting was superb. Nevertheless it is unbelievably heartwarming, and worth seeing. "
    "A dull, lifeless middle does not spoil it; the ending is a delight."
)


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def joined(model):
    return lignite.explain(model, LONG, window=20, overlap=6, target="positive")


def windows_of(result) -> list[dict]:
    return json.loads(result.attrs["windows"])


def test_a_text_that_fits_one_window_is_explained_as_without(model):
    """The option changes nothing where nothing is cut."""
    plain = lignite.explain(model, SHORT)

    found = lignite.explain(model, SHORT, window=20)

    assert found.token.values.tolist() == plain.token.values.tolist()
    assert_allclose(found.relevance, plain.relevance, rtol=1e-5, atol=1e-6)  # float32 sums in another batch
    assert_allclose(found.layer_relevance, plain.layer_relevance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "overlap"), [(12, 0), (12, 4), (20, None), (30, 10)])
def test_windows_cover_the_text_between_words_and_fit_their_size(model, size, overlap):
    """Every character stands in a window, no word is cut, and the model can read each."""
    windows = cut(model, LONG, size, overlap)

    assert windows[0].start == 0
    assert windows[-1].stop == len(LONG)
    for window, following in pairwise(windows):
        assert window.start < following.start <= window.stop < following.stop
        assert not (LONG[window.stop - 1].isalpha() and LONG[window.stop].isalpha())
        assert not (LONG[following.start - 1].isalpha() and LONG[following.start].isalpha())
    for window in windows:
        assert LONG[window.start : window.stop] == window.text
        assert len(model.tokenizer(window.text)["input_ids"]) <= size


def test_the_whole_text_keeps_its_tokens_words_and_places(model, joined):
    """Whoever reads the result sees one text, as if the model had read it at once."""
    whole = lignite.explain(model, LONG)

    for name in ("token", "word", "special", "start", "stop", "position"):
        assert joined[name].values.tolist() == whole[name].values.tolist(), name


def test_scores_are_the_mean_of_what_the_windows_say(model, joined):
    """Put together by hand: window by window, token by token, each counting one n-th."""
    pieces = windows_of(joined)
    expected = np.zeros(joined.sizes["token"])
    for piece in pieces:
        part = lignite.explain(model, LONG[piece["start"] : piece["stop"]], target="positive")
        for score, start, special in zip(part.relevance.values, part.start.values, part.special.values, strict=True):
            if not special:
                place = joined.start.values.tolist().index(start + piece["start"])
                expected[place] += score / len(pieces)

    words = ~joined.special.values
    assert_allclose(joined.relevance.values[words], expected[words], rtol=1e-4, atol=1e-5)  # float32, another batch


def test_the_sum_explains_the_mean_change_of_the_windows(joined):
    """Completeness survives the seams, special tokens included."""
    assert_allclose(joined.layer_relevance.sum("token"), joined.displacement + joined.gap, rtol=1e-5, atol=1e-6)
    assert_allclose(joined.relevance.sum(), joined.total_displacement + joined.total_gap, rtol=1e-5, atol=1e-6)
    assert_allclose(joined.attrs["value"], np.mean([piece["value"] for piece in windows_of(joined)]), rtol=1e-6)


def test_by_default_all_windows_explain_the_class_they_favour_together(model):
    """Windows that disagree would otherwise add up answers to different questions."""
    text = "A superb, moving, wonderful film. " * 3 + "A dull, thin, lifeless mess. " * 2

    found = lignite.explain(model, text, window=14, overlap=0)

    assert len(windows_of(found)) > 3
    assert found.prediction == "positive"
    assert json.loads(found.attrs["target"])["name"] == "positive"
    assert_allclose(found.probability.sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("targets", [2, "all"])
def test_several_classes_of_all_windows_are_those_of_one_call_for_each(targets):
    """The most probable by the mean of the windows' logits, which no window alone has in that order."""
    model = headed("bert", "BertForSequenceClassification")
    text = " ".join(["a superb film", "a dull thin plot", "the acting was worth seeing"] * 2)
    options = {"method": "ig", "baseline": "zero", "window": 12, "overlap": 0}
    ids = [model.tokenizer(piece.text, return_tensors="pt") for piece in cut(model, text, 12, 0)]
    with torch.no_grad():  # windows that agree in the order of classes would show nothing
        mean = torch.stack([model.network(**each).logits[0] for each in ids]).mean(0)
        model.network.classifier.bias += torch.tensor([0.01, -0.01, 0.02]) - mean
        logits = torch.stack([model.network(**each).logits[0] for each in ids]).numpy()

    found = lignite.explain(model, text, targets=targets, **options)

    names = [model.network.config.id2label[int(at)] for at in np.argsort(-logits.mean(0))]
    assert len({tuple(np.argsort(-row)) for row in logits}) > 1
    assert found.explained.values.tolist() == names[: 2 if targets == 2 else 3]
    for name in found.explained.values.tolist():
        alone = lignite.explain(model, text, target=name, **options)
        one = found.lignite.by_class()[name]
        assert_allclose(one.relevance, alone.relevance, atol=1e-9)
        assert_allclose(one.attrs["value"], alone.attrs["value"], atol=1e-9)
        assert one.attrs["windows"] == alone.attrs["windows"]
        assert one.attrs["request"] == alone.attrs["request"]


WITH_OPTIONS = [
    {"method": "ca-lig", "ends": True, "tol": 0.5},
    {"method": "ca-lig", "nodes": "stochastic", "n_steps": 4},
    {"method": "relevance-flow", "orders": True, "tol": 0.5},
    {"method": "relevance-flow", "ends": True, "orders": False, "tol": 0.5},
    {"method": "ig", "tol": 0.5},
    *({"method": method} for method in ("saliency", "grad-cam", "attention-rollout", "occlusion", "random")),
]


@pytest.mark.parametrize("options", WITH_OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_windows_lose_no_variable_but_those_over_pairs_of_tokens(model, options):
    """The layout says along which axes a variable lies, and these say how it is joined."""
    text = "A superb film, though thin. It is dull."

    whole = lignite.explain(model, text, target="positive", **options)
    joined = lignite.explain(model, text, target="positive", window=9, **options)

    assert len(windows_of(joined)) > 1
    assert set(joined) == {name for name in whole if not {"target", "source"} & set(whole[name].dims)}
    assert all(joined[name].dims == whole[name].dims for name in joined)
    if "falling" in joined:
        arrived = 2 * joined.total_displacement - joined.displacement[0]  # half of it by the path, half in orders
        for name in ("falling", "rising"):  # each adds up to the change of every window
            assert_allclose(joined[name].sum(), arrived, rtol=1e-4)


def test_pairs_of_tokens_are_not_asked_for_in_windows(model):
    """They would be left out without a word."""
    with pytest.raises(OptionError, match="two windows share no pair"):
        lignite.explain(model, LONG, window=20, method="relevance-flow", detail="relevance-flow")


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "none"])
def test_probabilities_of_windows_follow_the_link_of_the_model(link):
    """Two classes of logits 0 and 0 look alike under both links: the numbers do not tell which one it is."""
    logits = np.array([0.0, 0.0])

    found = chances(logits + 1, link)

    expected = {"softmax": [0.5, 0.5], "sigmoid": [1 / (1 + np.exp(-1))] * 2, "none": [np.nan] * 2}[link]
    assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 2}, "no room"),
        ({"window": 10_000}, "more than tiny-sentiment can read"),
        ({"window": 20, "overlap": 20}, "smaller than window"),
        ({"overlap": 4}, "smaller than window=None"),
        ({"window": 20, "overlap": 18}, "no room"),
    ],
)
def test_impossible_windows_are_refused_in_one_line(model, options, message):
    """What was given, and what would do."""
    with pytest.raises(OptionError, match=message) as error:
        lignite.explain(model, LONG, **options)

    assert "\n" not in str(error.value)


def test_only_texts_are_cut(model):
    """Tensors have no text whose words could be kept whole."""
    with pytest.raises(InputError, match="window= cuts texts"):
        lignite.explain(model, {"input_ids": [2, 5, 6, 3]}, window=20)
