from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ddpo_bench.analysis.across_tasks import performance_profile

SCORES = st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=6), min_size=1, max_size=4)
TAU = np.linspace(-4, 4, 17)


def test_profile_is_the_share_of_runs_strictly_above_tau() -> None:
    profile = performance_profile([[1.0, 2.0], [2.0, 3.0, 4.0, 5.0]], [0.0, 1.0, 2.0, 4.5, 5.0])
    assert list(profile.share) == [1.0, 0.75, 0.375, 0.125, 0.0]


def test_profile_of_normal_scores_is_their_survival_function() -> None:
    rng = np.random.default_rng(0)
    tasks = [rng.normal(k, size=2000) for k in range(3)]
    expected = np.mean([stats.norm.sf(TAU, loc=k) for k in range(3)], axis=0)
    assert performance_profile(tasks, TAU, replicates=100).share == pytest.approx(expected, abs=0.02)


def test_band_of_one_task_is_the_binomial_one() -> None:
    """Resampling n runs of which k are above tau draws a binomial count with p = k / n."""
    runs = np.arange(20.0)
    profile = performance_profile([runs], runs, replicates=50_000)
    low, high = (stats.binom.ppf(q, 20, profile.share) / 20 for q in (0.025, 0.975))
    assert profile.low == pytest.approx(low, abs=0.051)  # a step of the binomial's
    assert profile.high == pytest.approx(high, abs=0.051)
    assert np.isclose(profile.low, low).mean() > 0.8
    assert np.isclose(profile.high, high).mean() > 0.8


def test_band_covers_the_true_share_about_as_often_as_it_says() -> None:
    """Where 20 to 80 % of the runs are above tau: 4 tasks of 15 runs are enough there; nearer the ends they are not."""
    rng, tau = np.random.default_rng(1), np.linspace(0.2, 0.8, 7)
    bands = [performance_profile(list(rng.random((4, 15))), tau, replicates=500, seed=i) for i in range(1000)]
    covered = np.mean([(band.low <= 1 - tau) & (1 - tau <= band.high) for band in bands], axis=0)
    assert covered.min() >= 0.91
    assert covered.max() <= 0.97


@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(SCORES, st.data())
def test_the_order_of_seeds_changes_nothing(tasks: list[list[float]], data: st.DataObject) -> None:
    shuffled = [data.draw(st.permutations(task)) for task in tasks]
    first, second = (performance_profile(scores, TAU, replicates=100) for scores in (tasks, shuffled))
    assert np.allclose(first, second, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(SCORES)
def test_profile_falls_from_one_to_zero_within_its_band(tasks: list[list[float]]) -> None:
    _, share, low, high = performance_profile(tasks, TAU, replicates=100)
    assert share[0] == pytest.approx(1)
    assert share[-1] == 0
    for curve in (share, low, high):
        assert (np.diff(curve) <= 1e-12).all()
    assert (low <= high).all()


def test_a_task_with_one_run_leaves_no_band() -> None:
    profile = performance_profile([[1.0], [1.0, 2.0]], [0.5, 1.5])
    assert list(profile.share) == [1.0, 0.25]
    assert np.isnan([profile.low, profile.high]).all()


def test_a_missing_score_is_not_counted_as_low() -> None:
    assert np.isnan(performance_profile([[1.0, np.nan], [1.0, 2.0]], [0.0]).share).all()
