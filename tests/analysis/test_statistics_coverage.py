"""How often the 95 % intervals contain the truth, in simulations of data sets whose truth is known.

What the percentile bootstrap should give for a mean of normal values follows from its formula. Resampled means have the
standard deviation c s / sqrt(n), with s the sample's own and c = sqrt((n - 1) / n), so the interval is nearly
mean +- 1.96 c s / sqrt(n). It contains the truth where |t| <= 1.96 c, t Student's with n - 1 degrees of freedom: 90.4 %
at n = 10, 93.6 % at n = 30, 95 % only as n grows. It lacks the wider quantile of t and divides by n, not n - 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ddpo_bench.analysis.statistics import bootstrap_interval, probability_of_improvement

pytestmark = pytest.mark.long
Array = NDArray[np.float64]


def mean(values: Array) -> Array:
    return values.mean(axis=-1)


def intervals(data: Array, replicates: int = 2000) -> Array:
    """The interval of the mean of each row of [sets, n]: [2, sets]."""
    return np.array([bootstrap_interval(row, mean, replicates, seed=i) for i, row in enumerate(data)]).T


def coverage(ends: Array, truth: float) -> float:
    return float(np.mean((ends[0] <= truth) & (truth <= ends[1])))


def percentile_coverage(n: int, degrees: int) -> float:
    """What the percentile bootstrap of a mean of normal values should cover, by the formula above."""
    return float(1 - 2 * stats.t.sf(stats.norm.ppf(0.975) * np.sqrt((n - 1) / n), degrees))


@pytest.mark.parametrize(("n", "sets"), [(30, 8000), (10, 16_000)])
def test_normal_scores_are_covered_as_often_as_the_formula_says(n: int, sets: int) -> None:
    """93.6 % of the time with 30 seeds, 90.4 % with 10. 1 standard error is at most 0.003."""
    covered = coverage(intervals(np.random.default_rng(n).normal(size=(sets, n))), 0)
    assert covered == pytest.approx(percentile_coverage(n, n - 1), abs=0.01)


@pytest.mark.parametrize(("n", "low", "high"), [(10, 0.845, 0.88), (30, 0.90, 0.93)])
def test_skewed_scores_are_covered_less_often_and_missed_on_one_side(n: int, low: float, high: float) -> None:
    """Exponential values, skewness 2: without their rare large ones a sample has both too low a mean and too small a
    spread, so the interval mostly misses by lying below the truth."""
    ends = intervals(np.random.default_rng(2).exponential(size=(6000, n)))
    assert low <= coverage(ends, 1) <= high
    below, above = np.mean(ends[1] < 1), np.mean(ends[0] > 1)
    assert below > 2.5 * above


@pytest.mark.parametrize("draw", [np.random.Generator.standard_normal, np.random.Generator.standard_exponential])
def test_intervals_cover_as_often_as_those_of_scipy(draw: Callable[..., Array]) -> None:
    """On the same sets; the two differ only in which resamples were drawn."""
    data, truth = draw(np.random.default_rng(3), (1500, 10)), float(draw is not np.random.Generator.standard_normal)
    theirs = stats.bootstrap(
        (data,), np.mean, axis=-1, n_resamples=2000, batch=100, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    ours = intervals(data)
    assert coverage(ours, truth) == pytest.approx(coverage(np.array(theirs), truth), abs=0.01)
    assert np.mean(ours[1] - ours[0]) == pytest.approx(np.mean(theirs.high - theirs.low), rel=0.01)


def test_a_mean_over_six_tasks_of_ten_seeds_is_covered_more_often_than_one_task() -> None:
    """Six spreads are known better than one: 6 x 9 degrees of freedom in place of 9, so 93.2 % in place of 90.4 %."""
    data = np.random.default_rng(5).normal(size=(4000, 6, 10))
    found = [bootstrap_interval(list(tasks), mean, replicates=1500, seed=i) for i, tasks in enumerate(data)]
    covered = coverage(np.array(found).T, 0)
    assert covered == pytest.approx(percentile_coverage(10, 54), abs=0.012)


def test_probability_of_improvement_of_normals_is_covered_about_as_often_as_its_label_says() -> None:
    """Two tasks of 20 seeds a side; P(N(delta, 1) > N(0, 1)) = Phi(delta / sqrt 2)."""
    rng, deltas = np.random.default_rng(6), np.array([0.2, 0.8])
    truth = float(stats.norm.cdf(deltas / np.sqrt(2)).mean())
    a, b = rng.normal(deltas[:, None], size=(1000, 2, 20)), rng.normal(size=(1000, 2, 20))
    found = [probability_of_improvement(list(a[i]), list(b[i]), replicates=500, seed=i) for i in range(1000)]
    assert 0.92 <= coverage(np.array([(one.low, one.high) for one in found]).T, truth) <= 0.97
