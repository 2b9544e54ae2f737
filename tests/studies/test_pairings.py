"""Agreement of a layer told at once with the layer told in two steps, where both are known by hand."""

import numpy as np
import pytest
import torch
import xarray as xr
from tests.kit.headed_models import headed
from tests.kit.linear_blocks import linear_model

import lignite
from lignite.metrics.readings.pairings import rank_pairings
from lignite.studies.pairings import COMPOSITIONS, MLP, WHOLE, compare_pairings

TEXT = "people was thin at all"
ROUNDED = 1e-6  # maps are stored in float32, scores are of order one


@pytest.fixture(scope="module")
def linear() -> tuple[lignite.Model, xr.Dataset]:
    model = linear_model()
    return model, compare_pairings(model, TEXT)


def moved_heads(model: lignite.Model, start: str) -> list[np.ndarray]:
    """How far the head of every token moves in each layer: from silence, or from the token's own state.

    All words look at all alike, so that the head is the mean state; under the target-token baseline it starts at the
    target's own state.
    """
    states = model.network.embeddings(torch.tensor(model.tokenizer(TEXT)["input_ids"]))
    found = []
    for layer in model.network.layers:
        head = states.mean(0, keepdim=True).expand_as(states)
        found.append((head - (states if start == "target_token" else 0)).norm(dim=-1).detach().numpy())
        states = head @ layer.self_attn.o_proj.weight.T
    return found


def test_the_study_is_that_of_its_sentences(linear):
    """What is kept between, restored and put together are the very numbers."""
    model, compared = linear

    found = lignite.study.consistency(model, [TEXT, TEXT])

    xr.testing.assert_equal(found.isel(sentence=1, drop=True), compared)


@pytest.mark.parametrize("start", WHOLE)
def test_a_linear_block_is_the_same_at_once_and_in_two_steps(linear, start):
    """One head, turned but not stretched: shares of the head's change are shares of the block's."""
    _, compared = linear

    same = compared.sel(whole=start, attention=start, mlp="attention_start", composition="conserving", layer=0)

    assert float(same.l2.max()) < ROUNDED
    assert float(same.pearson.min()) > 1 - ROUNDED


@pytest.mark.parametrize("start", ["zero", "target_token"])
@pytest.mark.parametrize("mlp", MLP)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_the_distance_of_a_linear_block_is_known(linear, start, mlp, composition):
    """A row told in two steps is the row told at once times a number: how far the head moved, or moved from silence."""
    model, compared = linear
    moved, from_silence = moved_heads(model, start)[0], moved_heads(model, "zero")[0]
    whole, after = moved, from_silence if mlp == "zero" else moved
    factor = after / whole if composition == "conserving" else after

    found = compared.sel(
        whole=start, attention=start, mlp=mlp, composition=composition, diagonal="with", layer=0
    ).l2_relative

    np.testing.assert_allclose(float(found), np.mean(abs(factor - 1)), rtol=1e-5, atol=ROUNDED)


@pytest.mark.wide
def test_all_pairings_of_a_real_block_are_those_of_single_flows():
    """Six flows are put together into 96 pairings; each is what `lignite.flow` and `lignite.agreement` say of it."""
    model = headed("bert", "BertForSequenceClassification")
    compared = compare_pairings(model, TEXT)

    for attention in WHOLE:
        baseline, _, self_term = attention.partition("/")
        for mlp in MLP:
            for composition in COMPOSITIONS:
                flow = lignite.flow(
                    model, TEXT, baseline=baseline, self_term=self_term or "measured", mlp_baseline=mlp,
                    composition=composition, maps=("whole", "composed"),
                )  # fmt: skip
                expected = lignite.agreement(flow)
                found = compared.sel(whole=attention, attention=attention, mlp=mlp, composition=composition)
                for measure, rounded in {"l2": 1e-6, "l2_relative": 1e-6, "pearson": 1e-6, "spearman": 2e-3}.items():
                    np.testing.assert_allclose(  # ranks of zeros on the diagonal are decided by their rounding
                        found[measure].transpose("layer", "diagonal"), expected[measure], rtol=1e-4, atol=rounded
                    )


@pytest.mark.wide
def test_a_start_that_needs_attention_weights_is_left_out_and_named_where_there_are_none():
    """Blocks that are split at their projection show no weights; the other starts are compared as ever."""
    compared = compare_pairings(headed("deberta-v2", "DebertaV2ForSequenceClassification"), TEXT)

    (said,) = compared.attrs["missing"]
    assert said.startswith("target_token/map_ratio: ")
    assert compared.spearman.sel(attention="target_token/map_ratio").isnull().all()
    assert compared.spearman.sel(attention="zero").notnull().all()


def test_pairings_are_ranked_with_what_they_miss_of_the_best():
    """Means over layers, then over sentences; differences are taken within a sentence."""
    sizes = {"sentence": 3, "layer": 2, "whole": 1, "attention": 2, "mlp": 1, "composition": 1, "diagonal": 2}
    scores = np.zeros(tuple(sizes.values()))
    scores[:, :, 0, 0] = np.array([0.2, 0.4, 0.6])[:, None, None, None, None]
    scores[:, :, 0, 1] = np.array([0.5, 0.7, 0.9])[:, None, None, None, None]
    names = {"whole": ["zero"], "attention": ["zero", "target_token"], "mlp": ["zero"], "composition": ["product"],
             "diagonal": ["with", "without"]}  # fmt: skip
    compared = xr.Dataset({name: (tuple(sizes), scores) for name in ("spearman", "l2")}, names)

    by_rank, by_distance = rank_pairings(compared), rank_pairings(compared, "l2")

    assert by_rank["attention"].tolist() == ["target_token", "zero"]
    np.testing.assert_allclose(by_rank["mean"], [0.7, 0.4])
    np.testing.assert_allclose(by_rank[["behind", "behind_low", "behind_high"]].values[1], [0.3, 0.3, 0.3])
    assert by_distance["attention"].tolist() == ["zero", "target_token"]
    np.testing.assert_allclose(by_distance["behind"], [0, 0.3])
