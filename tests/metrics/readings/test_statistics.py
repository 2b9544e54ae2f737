"""Intervals, paired tests and the random reference: samples small enough to enumerate, and scipy beside them."""

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from lignite.errors import InputError, OptionError
from lignite.metrics.readings.statistics import compare, holm, interval, rank_correlation

EXACT = {"rtol": 1e-12, "atol": 0}  # float64 on a handful of numbers
SKEWED = np.random.default_rng(5).exponential(size=30)


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.95, 0.0, 1.0), (0.4, 0.5, 0.5)])
def test_percentiles_of_two_scores_by_hand(confidence, low, high):
    """Resampled means of {0, 1} are 0, ½ and 1 with chances ¼, ½ and ¼."""
    found = interval([0.0, 1.0], confidence=confidence, method="percentile")

    assert (found.mean, found.low, found.high, found.n, found.missing) == (0.5, low, high, 2, 0)


def test_bca_is_efrons_formula():
    """Bias from the share of resampled means below the mean, acceleration from the skew of the jackknife."""
    generator = np.random.default_rng(11)
    means = np.sort(SKEWED[generator.integers(30, size=(100_000, 30))].mean(axis=1))
    bias = scipy.stats.norm.ppf((means < SKEWED.mean()).mean())
    left_out = np.array([np.delete(SKEWED, place).mean() for place in range(30)])
    pull = left_out.mean() - left_out
    acceleration = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
    z = scipy.stats.norm.ppf([0.05, 0.95])
    shares = scipy.stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
    expected = np.quantile(means, shares)

    found = interval(SKEWED, confidence=0.9)

    error = SKEWED.std() / np.sqrt(30)
    # A quantile near 5 or 95 % of 9,999 normal draws has a standard error of 0.02 deviations; four of them.
    assert_allclose([found.low, found.high], expected, rtol=0, atol=0.08 * error)
    percentile = interval(SKEWED, confidence=0.9, method="percentile")
    assert found.high - percentile.high > 0.1 * error  # and the correction is not lost in that tolerance


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    """The meaning of the number; small samples cover a little less often."""
    generator = np.random.default_rng(3)

    hits = 0
    for number in range(200):
        found = interval(generator.normal(2.0, 1.0, size=40), n_resamples=399, seed=number)
        hits += found.low <= 2.0 <= found.high

    # 0.95 less about 0.02 for forty scores; three standard errors of a share of 200 are 0.05.
    assert 0.88 <= hits / 200 <= 0.99


def test_undefined_scores_are_counted_and_left_out():
    """Taken for zero they would move the mean, dropped in silence the reader's trust."""
    found = interval([np.nan, *SKEWED, np.nan])

    expected = interval(SKEWED)
    assert (found.mean, found.low, found.high, found.n) == (expected.mean, expected.low, expected.high, 30)
    assert found.missing == 2


def test_too_little_to_resample_is_said_and_not_guessed():
    """One example has no spread, equal ones have none either, no example has no mean; none of them warns."""
    alone, equal, none = interval([0.25]), interval([0.1, 0.1, 0.1]), interval([np.nan])

    assert (alone.mean, alone.n) == (0.25, 1)
    assert np.isnan([alone.low, alone.high]).all()
    assert_allclose([equal.mean, equal.low, equal.high], 0.1, **EXACT)
    assert np.isnan([none.mean, none.low, none.high]).all()
    assert (none.n, none.missing) == (0, 1)


@pytest.mark.parametrize(("scale", "shift"), [(1e-200, 0.0), (1.0, 50.0), (-3.0, 1.0)])
def test_intervals_follow_the_unit_of_the_scores(scale, shift):
    """Cubes of small numbers underflow, and the correction for skew with them."""
    base = interval(SKEWED, method="percentile")
    corrected = interval(SKEWED)

    moved = interval(scale * SKEWED + shift, method="percentile")
    moved_corrected = interval(scale * SKEWED + shift)

    ends = sorted([scale * base.low + shift, scale * base.high + shift])
    rounding = {"rtol": 1e-12, "atol": 1e-12 * abs(scale)}
    if scale > 0:
        assert_allclose([moved.low, moved.high], ends, **rounding)
        assert_allclose(
            [moved_corrected.low, moved_corrected.high],
            [scale * corrected.low + shift, scale * corrected.high + shift],
            **rounding,
        )
    else:  # mirrored quantiles of the same draws
        assert_allclose([moved.low, moved.high], ends, rtol=1e-9)


def test_numbers_repeat_with_their_seed_and_differ_without():
    """A table can be made again, and its last digit is known to be chance."""
    assert interval(SKEWED, seed=1) == interval(SKEWED, seed=1)
    assert interval(SKEWED, seed=1) != interval(SKEWED, seed=2)
    assert compare(SKEWED, SKEWED[::-1], seed=1) == compare(SKEWED, SKEWED[::-1], seed=1)


def test_large_samples_are_drawn_in_pieces_with_the_same_meaning():
    """Ten thousand scores times ten thousand resamples would not fit into memory."""
    scores = np.random.default_rng(0).normal(size=5000)

    found = interval(scores, n_resamples=999, method="percentile")
    tested = compare(scores + 0.02, np.zeros(5000), n_resamples=999)

    error = scores.std() / np.sqrt(5000)
    # ±1.96 standard errors; the quantile of 999 draws is known to 0.085 of them, and three of those are allowed.
    assert_allclose(
        [found.low, found.high], scores.mean() + 1.96 * error * np.array([-1, 1]), atol=0.26 * error, rtol=0
    )
    expected = 2 * scipy.stats.norm.sf(abs(scores.mean() + 0.02) / error)
    assert_allclose(tested.p, expected, atol=4 * np.sqrt(expected / 999), rtol=0)  # four standard errors of a share


def test_the_bootstrap_p_value_of_two_pairs_by_hand():
    """Differences −1 and 3: centred −2 and 2, whose resampled means are as far as 1 half of the time."""
    found = compare([0.0, 4.0], [1.0, 1.0])

    assert found.difference == 1.0
    assert_allclose(found.p, 0.5, atol=0.02, rtol=0)  # four standard errors of a share of 9,999
    assert found.n == 2


def test_a_constant_difference_gets_the_smallest_p_value_there_is():
    """No resample of equal differences, moved to mean zero, is anything but zero."""
    found = compare([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])

    assert_allclose(found.p, 1 / 10_000, **EXACT)
    assert (found.low, found.high) == (0.5, 0.5)


def test_changing_sides_changes_the_sign_alone():
    """A two-sided question has no side; ends of the interval are known to the quantiles' chance."""
    one, other = SKEWED, SKEWED[::-1] + 0.3

    forth, back = compare(one, other), compare(other, one)

    assert_allclose([forth.difference, forth.p], [-back.difference, back.p], **EXACT)
    assert forth.low < forth.difference < forth.high
    assert forth.low < -back.difference < forth.high


def test_only_pairs_are_compared():
    """An example that one method could not score says nothing of the other, easy or hard as it may be."""
    first = [1.0, np.nan, 5.0, 2.0]
    second = [0.0, -100.0, np.nan, 0.0]

    found = compare(first, second)

    assert (found.difference, found.n, found.missing) == (1.5, 2, 2)
    with pytest.raises(InputError, match="3 scores are compared with 2"):
        compare([1.0, 2.0, 3.0], [1.0, 2.0])


def test_equal_methods_do_not_differ():
    """All differences are zero, where nothing is left to move."""
    assert compare(SKEWED, SKEWED).p == 1.0
    assert np.isnan(compare([1.0], [0.5]).p)


def test_holm_by_hand():
    """0.01 × 3, then 0.03 × 2, then at least as much; a missing one is no comparison."""
    assert_allclose(holm([0.04, np.nan, 0.01, 0.03]), [0.06, np.nan, 0.03, 0.06], **EXACT)
    assert_allclose(holm([0.6, 0.9]), [1.0, 1.0], **EXACT)


def test_rank_correlation_is_scipys():
    """Ties share their rank; a constant has none to correlate, and says so without a warning."""
    x, y = np.array([3.0, 1.0, 1.0, 8.0, -2.0]), np.array([0.5, 0.5, 0.1, 0.7, 0.9])

    found = rank_correlation(x, y)

    assert_allclose(found, scipy.stats.spearmanr(x, y).statistic, **EXACT)
    assert_allclose(rank_correlation(x, -x), -1, **EXACT)
    assert np.isnan([rank_correlation(x, np.ones(5)), rank_correlation(x[:1], y[:1])]).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: interval([1.0, np.inf]), InputError, r"infinite score \(example 1\)"),
        (lambda: interval(np.ones((2, 2))), InputError, r"shape \(2, 2\)"),
        (lambda: interval([1.0, 2.0], confidence=95.0), OptionError, "confidence=95.0 .* 0.95"),
        (lambda: interval([1.0, 2.0], n_resamples=10), OptionError, "n_resamples=10 .* at least 99"),
        (lambda: interval([1.0, 2.0], method="t"), OptionError, "choose from 'bca', 'percentile'"),
    ],
)
def test_bad_options_are_named(call, error, message):
    """What was given, what was expected, what to do."""
    with pytest.raises(error, match=message):
        call()
