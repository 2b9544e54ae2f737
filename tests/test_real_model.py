"""A trained classifier on real sentences: what tiny random models cannot show."""

import gzip
import json
import re
import warnings
from itertools import islice

import numpy as np
import pytest
from tests.kit.wide import wide

import lignite
from lignite.errors import GapWarning
from lignite.tolerance import SMALL_SHARE

pytestmark = pytest.mark.shared

TOL = 1e-3  # the default, stored as `tol`


@pytest.fixture(scope="module")
def sentences(shared_folder) -> list[str]:
    with gzip.open(shared_folder / "data" / "sst" / "dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in islice(lines, 20)]


@pytest.mark.wide
@pytest.mark.parametrize(
    ("baseline", "n_sentences"), [("target_token", 4), ("zero", 1), *wide(("target_token", 20), ("zero", 5))]
)
def test_gaps_of_a_trained_model_are_within_the_tolerance_or_named(shared_folder, sentences, baseline, n_sentences):
    """The promise of the defaults: under one in a hundred misses, and none of them in silence."""
    model = lignite.load(shared_folder / "models" / "sst-minilm")
    n_rows = n_missed = 0

    for sentence in sentences[:n_sentences]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GapWarning)
            flow = lignite.flow(model, sentence, baseline=baseline)
        message = " ".join(str(warning.message) for warning in caught if warning.category is GapWarning)
        for name in ("attention", "mlp", "whole"):
            for layer in flow.layer.values:
                missed = missing(flow[f"{name}_gap"].sel(layer=layer), flow[f"{name}_displacement"].sel(layer=layer))
                n_rows, n_missed = n_rows + missed.size, n_missed + missed.sum()
                named = re.search(rf"layer {layer}, {name}: .*? of \d+", message)
                assert bool(missed.any()) == bool(named)

    assert flow.attrs["tol"] == TOL
    assert n_rows > 1000 * n_sentences
    assert n_missed < 0.01 * n_rows


def missing(gap, displacement) -> np.ndarray:
    """Gaps that exceed the tolerance of their displacement, with its floor."""
    floor = SMALL_SHARE * np.sort(displacement.values, axis=None)[(displacement.size - 1) // 2]  # torch's lower median
    return abs(gap.values) > TOL * np.maximum(displacement.values, floor)
