"""Explanations by a trained classifier on real sentences: what tiny random models cannot show."""

import gzip
import json
import re
import warnings
from itertools import islice

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lignite
from lignite.errors import GapWarning
from lignite.tolerance import ROUNDED_SHARE

pytestmark = pytest.mark.shared

TOL = 1e-3  # the default, stored as `tol`
WAYS = {
    "input": {"method": "ca-lig", "path": "input"},
    "layer": {"method": "ca-lig", "path": "layer"},
    "flow": {"method": "relevance-flow"},
}


@pytest.fixture(scope="module")
def model(shared_folder) -> lignite.Model:
    return lignite.load(shared_folder / "models" / "sst-minilm")


@pytest.fixture(scope="module")
def sentences(shared_folder) -> list[str]:
    with gzip.open(shared_folder / "data" / "sst" / "dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in islice(lines, 3)]


@pytest.mark.wide
@pytest.mark.parametrize(
    ("way", "baseline"), [("input", "mask"), ("layer", "mask"), ("flow", "mask"), ("input", "zero")]
)
def test_gaps_of_a_trained_model_are_within_the_tolerance_or_named(model, sentences, way, baseline):
    """The promise of the defaults: layers that miss are few, and none of them misses in silence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GapWarning)
        results = lignite.explain(model, sentences, baseline=baseline, **WAYS[way])
    message = " ".join(str(warning.message) for warning in caught if warning.category is GapWarning)

    n_missed = 0
    for why in results:
        value, displacement = why.attrs["value"], why.displacement.values
        size = np.maximum(abs(displacement), ROUNDED_SHARE * np.maximum(abs(value), abs(value - displacement)))
        missed = np.flatnonzero(abs(why.gap.values) > TOL * size)
        n_missed += len(missed)
        named = re.search(re.escape(repr(why.attrs["text"][:20])[1:-1]) + r".*? at layers ([\d, ]+)", message)
        assert bool(len(missed)) == bool(named)
        assert_allclose(why.layer_ig.sum("token") if "layer_ig" in why else why.layer_relevance.sum("token"),
                        displacement + why.gap.values, rtol=0, atol=1e-4)  # fmt: skip
    n_layers = sum(why.sizes["layer"] for why in results)
    # from nothing, norms turn the paths of single layers more sharply than 256 nodes follow
    assert n_missed <= (0.0 if baseline == "mask" else 0.05) * n_layers


def test_words_that_everybody_knows_speak_for_their_class(model):
    """A trained classifier's own evidence, with the sign that it has."""
    praise = lignite.explain(model, "The acting was superb and wonderful.", target="positive")
    blame = lignite.explain(model, "The acting was awful and terrible.", target="positive")

    def of(why, word):
        return float(why.relevance.values[why.token.values.tolist().index(word)])

    assert of(praise, "wonderful") > 0
    assert of(blame, "awful") < 0
    assert of(blame, "terrible") < 0


@pytest.mark.wide
def test_both_paths_and_a_batch_agree_on_real_sentences(model, sentences):
    """One change of F to explain, whatever path it is followed along, alone or among others."""
    together = lignite.explain(model, sentences, method="ca-lig", n_steps=24, tol=0.5)

    for sentence, why in list(zip(sentences, together, strict=True))[:2]:
        alone = lignite.explain(model, sentence, method="ca-lig", n_steps=24, tol=0.5)
        other = lignite.explain(model, sentence, method="ca-lig", path="layer", n_steps=24, tol=0.5)
        scale = float(abs(alone.relevance).max())
        # float32: sums over 384 coordinates and 24 nodes in another order
        assert_allclose(why.relevance, alone.relevance, rtol=0, atol=1e-4 * scale)
        assert_allclose(other.displacement, alone.displacement, rtol=0, atol=1e-4)
