"""How sure a mean over examples is, whether two methods differ, corrected for several comparisons.

Scores that are not defined for an example (NaN) are left out and counted, never taken for zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lignite.calls import check_choice
from lignite.errors import InputError, OptionError

INTERVALS = ("bca", "percentile")
RESAMPLES = 9999
"""One less than 10,000, so that a p-value, which counts the sample itself too, is a multiple of 1e-4."""
FEWEST_RESAMPLES = 99

_AT_ONCE = 2**21
"""Numbers drawn at once: 16 MiB."""


@dataclass(frozen=True)
class Interval:
    """A mean over `n` examples with its confidence interval; `missing` examples had no score.

    `low` and `high` are NaN for fewer than two examples, which say nothing of their spread.
    """

    mean: float
    low: float
    high: float
    n: int
    missing: int


@dataclass(frozen=True)
class Comparison:
    """Mean difference, first minus second, over `n` examples that both have; `p` is two-sided."""

    difference: float
    low: float
    high: float
    p: float
    n: int
    missing: int


def interval(
    scores: Sequence[float] | np.ndarray,
    *,
    confidence: float = 0.95,
    method: str = "bca",
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap the mean of one score per example.

    Parameters
    ----------
    method
        ``"bca"`` corrects for bias and skew (Efron 1987), ``"percentile"`` takes the resampled means as they are.

    Examples
    --------
    >>> interval([0.2, 0.4, float("nan"), 0.6]).missing
    1
    """
    _check_options(confidence, n_resamples)
    check_choice("method", method, INTERVALS)
    given = _numbers("scores", scores)
    known = given[~np.isnan(given)]
    missing = len(given) - len(known)
    if not len(known):
        return Interval(np.nan, np.nan, np.nan, 0, missing)
    low, high = _bounds(known, confidence, method, n_resamples, seed)
    return Interval(float(known.mean()), low, high, len(known), missing)


def compare(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two methods by their scores on the same examples, in the same order, by a paired bootstrap.

    p is how often the mean of resampled differences, moved to mean zero, is as far from zero as the observed one. The
    interval is that of the mean difference, by `interval`.

    Returns
    -------
    Pairs in which either score is missing are left out and counted. Without a difference in any pair, p is 1.
    """
    _check_options(confidence, n_resamples)
    one, other = _numbers("first", first), _numbers("second", second)
    if len(one) != len(other):
        raise InputError(
            f"{len(one)} scores are compared with {len(other)}; give one of each method for the same examples."
        )
    differences = one - other
    known = differences[~np.isnan(differences)]
    mean = interval(differences, confidence=confidence, n_resamples=n_resamples, seed=seed)
    if len(known) < 2:
        p = np.nan
    elif not known.any():
        p = 1.0
    else:
        p = _bootstrap_p(known, n_resamples, seed)
    return Comparison(mean.mean, mean.low, mean.high, p, len(known), mean.missing)


def compare_groups(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare the mean scores of two groups of different examples by a bootstrap that resamples each by itself.

    The interval is that of percentiles; p is how often resampled differences, moved to mean zero, are as far from zero
    as the observed one. `n` counts the scores of both that are not missing; none has an interval below two of either.
    """
    _check_options(confidence, n_resamples)
    known = [given[~np.isnan(given)] for given in (_numbers("first", first), _numbers("second", second))]
    n, missing = sum(map(len, known)), len(first) + len(second) - sum(map(len, known))
    if not all(map(len, known)):
        return Comparison(np.nan, np.nan, np.nan, np.nan, n, missing)
    difference = float(known[0].mean() - known[1].mean())
    if min(map(len, known)) < 2:
        return Comparison(difference, np.nan, np.nan, np.nan, n, missing)
    generator = np.random.default_rng(seed)
    one, other = (_resampled_means(scores, n_resamples, generator) for scores in known)
    low, high = np.quantile(one - other, [(1 - confidence) / 2, (1 + confidence) / 2])
    far = (abs(one - other - difference) >= abs(difference) * (1 - 1e-12)).sum()  # rounding must not decide it
    return Comparison(difference, float(low), float(high), float((far + 1) / (n_resamples + 1)), n, missing)


def _resampled_means(scores: np.ndarray, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    at_once = max(1, _AT_ONCE // len(scores))
    sizes = [min(at_once, n_resamples - done) for done in range(0, n_resamples, at_once)]
    return np.concatenate([scores[generator.integers(len(scores), size=(size, len(scores)))].mean(1) for size in sizes])


def holm(p_values: Iterable[float]) -> np.ndarray:
    """Adjust p-values of several comparisons, so that the chance of any false alarm stays what one would have.

    Holm (1979). A missing p-value (NaN) stays missing and does not count as a comparison.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(list(p_values), dtype=np.float64)
    adjusted = np.full(len(given), np.nan)
    order = [place for place in np.argsort(given, kind="stable") if not np.isnan(given[place])]
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, given[place] * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation, ties sharing their mean rank; NaN where one side is constant or has fewer than two.

    Examples
    --------
    >>> round(rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.4, 0.2])), 6)
    0.5
    """
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    one, other = stats.rankdata(first), stats.rankdata(second)
    one, other = one - one.mean(), other - other.mean()
    return float(np.clip(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)), -1, 1))


def _bounds(scores: np.ndarray, confidence: float, method: str, n_resamples: int, seed: int) -> tuple[float, float]:
    if len(scores) < 2:
        return np.nan, np.nan
    size = np.ptp(scores)
    if size == 0:
        return float(scores[0]), float(scores[0])
    found = stats.bootstrap(
        ((scores - scores[0]) / size,),  # at order one: the cubes in the correction for skew underflow otherwise
        np.mean,
        confidence_level=confidence,
        n_resamples=n_resamples,
        method="BCa" if method == "bca" else method,
        batch=max(1, _AT_ONCE // len(scores)),
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(scores[0] + size * found.low), float(scores[0] + size * found.high)


def _bootstrap_p(differences: np.ndarray, n_resamples: int, seed: int) -> float:
    means = _resampled_means(differences - differences.mean(), n_resamples, np.random.default_rng(seed))
    # Exactly as far counts as far; rounding must not decide it.
    n_far = int((np.abs(means) >= abs(differences.mean()) * (1 - 1e-12)).sum())
    return (n_far + 1) / (n_resamples + 1)  # the sample itself is one of the possible ones


def _numbers(name: str, scores: Sequence[float] | np.ndarray) -> np.ndarray:
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 1:
        raise InputError(f"{name} has shape {given.shape}; give one score per example.")
    if np.isinf(given).any():
        raise InputError(
            f"{name} holds an infinite score (example {int(np.isinf(given).argmax())}); leave that example out."
        )
    return given


def _check_options(confidence: float, n_resamples: int) -> None:
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r} must be a number between 0 and 1, such as 0.95.")
    if isinstance(n_resamples, bool) or not isinstance(n_resamples, int) or n_resamples < FEWEST_RESAMPLES:
        raise OptionError(f"n_resamples={n_resamples!r} must be a whole number, at least {FEWEST_RESAMPLES}.")
