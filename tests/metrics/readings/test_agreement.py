"""Agreement of two maps: hand-written matrices against numpy and scipy, and refusals where numbers would mislead."""

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from tests.kit.sample_flow import sample_flow

from lignite.errors import GridError, InputError, OptionError
from lignite.metrics.readings.agreement import agreement, agreement_between

EXACT = {"rtol": 1e-12, "atol": 1e-15}  # float64 on a dozen numbers
FIRST = np.array([[9.0, 1.0, 2.0], [0.0, 5.0, -1.0], [2.0, 2.0, 7.0]])
SECOND = np.array([[1.0, 3.0, 4.0], [1.0, 0.0, -2.0], [2.0, 1.0, 6.0]])


def two_maps(first, second):
    flow = sample_flow(tokens="abc", layers=range(len(first)), details=False, dtype="float64")
    flow["composed"].values[:] = first
    flow["whole"].values[:] = second
    return flow


def test_distances_by_hand():
    """Differences per target: (8, −2, −2), (−1, 5, 1), (0, 1, 1); norms of the second: √26, √5, √41."""
    result = agreement(two_maps([FIRST], [SECOND])).sel(layer=0)

    whole = result.sel(diagonal="with")
    distances = np.array([np.sqrt(72), np.sqrt(27), np.sqrt(2)])
    norms = np.array([np.sqrt(26), np.sqrt(5), np.sqrt(41)])
    assert_allclose(whole.l2, distances.mean(), **EXACT)
    assert_allclose(whole.l2_relative, (distances / norms).mean(), **EXACT)
    assert_allclose(whole.l2_relative_median, np.sqrt(72) / np.sqrt(26), **EXACT)
    others = result.sel(diagonal="without")
    distances = np.array([np.sqrt(8), np.sqrt(2), 1.0])
    norms = np.array([5.0, np.sqrt(5), np.sqrt(5)])
    assert_allclose(others.l2, distances.mean(), **EXACT)
    assert_allclose(others.l2_relative, (distances / norms).mean(), **EXACT)
    assert_allclose(others.l2_relative_median, np.sqrt(8) / 5, **EXACT)
    assert result.n_relative.values.tolist() == [3, 3]


def test_correlations_are_those_of_scipy():
    """Over all entries of the layer, and over those off the diagonal; ties share their rank."""
    first, second = np.stack([FIRST, SECOND]), np.stack([SECOND, FIRST.T])

    result = agreement(two_maps(first, second))

    others = ~np.eye(3, dtype=bool)
    for layer in (0, 1):
        for part, entries in (("with", others | True), ("without", others)):
            x, y = first[layer][entries], second[layer][entries]
            cell = result.sel(layer=layer, diagonal=part)
            assert_allclose(cell.pearson, scipy.stats.pearsonr(x, y).statistic, **EXACT)
            assert_allclose(cell.spearman, scipy.stats.spearmanr(x, y).statistic, **EXACT)


def test_means_over_layers_stand_beside_the_layers():
    """One number for a table, the layers for those who look closer."""
    result = agreement(two_maps([FIRST, SECOND], [SECOND, FIRST.T]))

    for name in ("l2", "l2_relative", "l2_relative_median", "pearson", "spearman"):
        assert result[name].dims == ("layer", "diagonal")
        assert_allclose(result[f"mean_{name}"], (result[name][0] + result[name][1]) / 2, **EXACT)


@pytest.mark.parametrize(("diagonal", "parts"), [(None, ["with", "without"]), (True, ["with"]), (False, ["without"])])
def test_the_diagonal_can_be_chosen(diagonal, parts):
    """Self-contribution decides agreement under some baselines, so it is never left unsaid."""
    result = agreement(two_maps([FIRST], [SECOND]), diagonal=diagonal)
    both = agreement(two_maps([FIRST], [SECOND]))

    assert result["diagonal"].values.tolist() == parts
    assert_allclose(result.pearson, both.pearson.sel(diagonal=parts))


def test_a_diagonal_that_agrees_hides_an_off_diagonal_that_does_not():
    """The reason why both numbers are given."""
    first = np.array([[50.0, 1, 0], [0, 60, 1], [1, 0, 70]])
    second = np.array([[50.0, 0, 1], [1, 60, 0], [0, 1, 70]])

    pearson = agreement(two_maps([first], [second])).pearson.sel(layer=0)

    assert pearson.sel(diagonal="with") > 0.99
    assert_allclose(pearson.sel(diagonal="without"), -1, **EXACT)


def test_the_diagonal_goes_by_position():
    """With chosen targets, row 0 is not token 0."""
    flow = two_maps([FIRST], [SECOND]).sel(target=[2, 0])

    result = agreement(flow, diagonal=False)

    x = [2.0, 2.0, 1.0, 2.0]
    y = [2.0, 1.0, 3.0, 4.0]
    assert_allclose(result.pearson[0, 0], scipy.stats.pearsonr(x, y).statistic, **EXACT)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_map_correlates_with_nothing(constant):
    """Undefined, not zero, and no warning; 0.1 does not average to itself in floating point."""
    result = agreement(two_maps([FIRST, FIRST], [np.full((3, 3), constant), SECOND]))

    assert np.isnan(result[["pearson", "spearman"]].sel(layer=0).to_array()).all()
    assert np.isfinite(result[["pearson", "spearman"]].sel(layer=1).to_array()).all()
    assert np.isnan(result[["mean_pearson", "mean_spearman"]].to_array()).all()
    assert np.isfinite(result.l2).all()


@pytest.mark.parametrize("rounding", [0.0, 1e-9])
def test_targets_without_scores_have_no_relative_distance(rounding):
    """A decoder's first token moves nowhere under the target-token baseline; it is left out and the rest counted."""
    second = SECOND.copy()
    second[0] = rounding

    result = agreement(two_maps([FIRST], [second]), diagonal=True).isel(layer=0, diagonal=0)

    relative = np.array([np.sqrt(27) / np.sqrt(5), np.sqrt(2) / np.sqrt(41)])
    assert_allclose(result.l2_relative, relative.mean(), **EXACT)
    assert_allclose(result.l2_relative_median, np.median(relative), **EXACT)
    assert result.n_relative == 2


def test_a_lone_token_leaves_nothing_to_correlate():
    """One entry with the diagonal, none without: numbers would be inventions."""
    flow = sample_flow(tokens="a", details=False)

    result = agreement(flow)

    assert np.isnan(result[["pearson", "spearman"]].to_array()).all()
    assert_allclose(result.l2.sel(diagonal="without"), 0)
    assert np.isnan(result.l2_relative.sel(diagonal="without")).all()


def test_a_map_agrees_with_itself():
    """Distance zero, correlation one, at float32 too."""
    result = agreement(sample_flow(), first="whole", second="whole")

    assert_allclose(result[["l2", "l2_relative", "l2_relative_median"]].to_array(), 0)
    assert_allclose(result[["pearson", "spearman"]].to_array(), 1, **EXACT)


def test_two_results_are_compared_map_by_map():
    """The same numbers as within one result that holds both maps; distances are relative to the second."""
    a, b = two_maps([FIRST], [SECOND]), two_maps([SECOND], [FIRST])
    expected = agreement(two_maps([SECOND], [FIRST]))

    same_map = agreement_between(a, b)
    other_map = agreement_between(a, a, map="whole", b_map="composed")

    for name in expected.data_vars:
        assert_allclose(same_map[name], expected[name], **EXACT)
        assert_allclose(other_map[name], expected[name], **EXACT)
    assert (other_map.attrs["first"], other_map.attrs["second"]) == ("whole", "composed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda flow: flow.lignite.merge_words(), r"differ in targets: 10 .* and 8"),
        (lambda flow: flow.sel(layer=[1, 2]), "differ in layers"),
        (lambda flow: flow.assign_coords(source=flow["source"] + 1), "differ in sources: entry 0 is 0 .* and 1"),
        (
            lambda flow: flow.assign_coords(target_token=("target", [*"abcdefghij"])),
            r"tokens of the target axis: entry 0 is '\[CLS\]' in the first and 'a'",
        ),
    ],
)
def test_results_on_different_grids_are_refused(change, message):
    """Maps of equal shape over other tokens once gave correlations near zero that meant nothing."""
    flow = sample_flow()

    with pytest.raises(GridError, match=message):
        agreement_between(flow, change(flow))


def test_only_token_maps_are_compared():
    """A map by head has no counterpart in a map without."""
    with pytest.raises(OptionError, match=r"no map 'attention' over layer, target and source.*it has whole, composed"):
        agreement(sample_flow(), first="attention")
    with pytest.raises(OptionError, match="no map 'composed'"):
        agreement(sample_flow()[["whole"]])
    with pytest.raises(InputError, match="no attribute 'kind'"):
        agreement(sample_flow().drop_attrs())
