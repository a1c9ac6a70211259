from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ddpo_bench.analysis.statistics import (
    Estimate,
    bootstrap_interval,
    estimate,
    iqm,
    paired_difference,
    probability_of_improvement,
)

FLOATS = st.floats(-1e6, 1e6)
TASKS = st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=6), min_size=1, max_size=4)


def test_iqm_cuts_a_quarter_off_each_end() -> None:
    assert iqm([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]) == pytest.approx(3.5)


@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(st.lists(FLOATS, min_size=1, max_size=3))
def test_iqm_of_fewer_than_four_values_is_their_mean(values: list[float]) -> None:
    assert iqm(values) == pytest.approx(np.mean(values), rel=1e-12, abs=1e-6)


def test_iqm_reduces_the_last_axis() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3, 9))
    assert iqm(values).shape == (5, 3)
    assert iqm(values)[4, 2] == pytest.approx(iqm(values[4, 2]))


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=15)
    ours = bootstrap_interval(values, replicates=50_000)
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        n_resamples=50_000,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_interval_of_a_mean_approaches_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(size=400)
    half = 1.96 * values.std() / 20
    low, high = bootstrap_interval(values, statistic=lambda x: x.mean(axis=-1))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_interval_of_three_seeds_is_their_range() -> None:
    assert bootstrap_interval([0.3, 0.1, 0.2]) == (pytest.approx(0.1), pytest.approx(0.3))


def test_interval_is_the_same_each_time_and_differs_between_seeds() -> None:
    values = np.random.default_rng(4).normal(size=12)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_a_task_of_one_run_leaves_no_interval() -> None:
    found = estimate([[1.0], [1.0, 2.0, 3.0]])
    assert np.isfinite(found.value)
    assert not found.has_interval


@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(TASKS, st.randoms())
def test_the_order_of_seeds_changes_nothing(tasks: list[list[float]], random: Random) -> None:
    shuffled = [random.sample(task, len(task)) for task in tasks]
    assert bootstrap_interval(shuffled, replicates=200) == bootstrap_interval(tasks, replicates=200)
    first = probability_of_improvement(tasks, tasks[::-1], replicates=200)
    assert probability_of_improvement(shuffled, shuffled[::-1], replicates=200) == first


@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(TASKS, st.floats(-100, 100), st.floats(0.1, 10))
def test_another_origin_and_unit_move_the_interval_along(tasks: list[list[float]], shift: float, scale: float) -> None:
    moved = bootstrap_interval([scale * np.array(task) + shift for task in tasks], replicates=200)
    expected = scale * np.array(bootstrap_interval(tasks, replicates=200)) + shift
    assert moved == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_the_estimate_over_tasks_is_the_iqm_of_their_runs_together() -> None:
    assert estimate([[0.0, 2.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]]).value == pytest.approx(25.0)
    rng = np.random.default_rng(3)
    tasks = [rng.normal(k, 1 + k, size=200 * (k + 1)) for k in range(3)]
    pooled = np.concatenate(tasks)
    low, high = bootstrap_interval(tasks, lambda runs: runs.mean(axis=-1))
    half = 1.96 * np.sqrt(sum(task.var() * len(task) for task in tasks)) / len(pooled)
    assert (pooled.mean() - low, high - pooled.mean()) == pytest.approx((half, half), rel=0.1)


def test_a_missing_value_is_never_taken_for_the_largest() -> None:
    values = [1.0, 2.0, 3.0, 4.0, np.nan]
    assert np.isnan(estimate(values)).all()
    assert np.isnan(estimate([values, [1.0, 2.0]])).all()
    assert np.isnan(paired_difference(values, values)).all()
    assert np.isnan(probability_of_improvement([values], [[0.0, 1.0]])).all()
    assert iqm([values, [1.0] * 5])[1] == 1.0


def test_strata_are_resampled_each_by_itself() -> None:
    far_apart = [np.full(5, 0.0), np.full(5, 100.0)]
    assert bootstrap_interval(far_apart, lambda x: x.mean(axis=-1)) == (50.0, 50.0)
    low, high = bootstrap_interval(np.concatenate(far_apart), lambda x: x.mean(axis=-1))
    assert low < 30
    assert high > 70


@pytest.mark.parametrize("values", [[], [[]], [[1.0], []], np.zeros((2, 2))])
def test_malformed_values_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match="a stratum"):
        bootstrap_interval(values)  # type: ignore[arg-type]


def test_paired_difference_removes_what_the_seeds_share() -> None:
    shared = np.random.default_rng(7).normal(scale=10, size=8)
    difference = paired_difference(shared + 0.5, shared)
    assert difference == pytest.approx((0.5, 0.5, 0.5))


@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8), st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_probability_of_improvement_is_mann_whitney(a: list[int], b: list[int]) -> None:
    expected = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
    forth = probability_of_improvement([a], [b], replicates=200)
    assert forth.value == pytest.approx(expected)
    assert forth.value + probability_of_improvement([b], [a], replicates=200).value == pytest.approx(1)


def test_probability_of_improvement_interval_agrees_with_resampled_values() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.7, size=9), rng.normal(size=7)
    replicates = [np.heaviside(rng.choice(a, 9)[:, None] - rng.choice(b, 7)[None, :], 0.5).mean() for _ in range(4000)]
    found = probability_of_improvement([a], [b])
    assert (found.low, found.high) == pytest.approx(np.quantile(replicates, [0.025, 0.975]), abs=0.02)


def test_intervals_overlap_where_they_share_a_point() -> None:
    first = Estimate(1.0, 0.5, 1.5)
    assert first.overlaps(Estimate(2.0, 1.5, 2.5))
    assert not first.overlaps(Estimate(2.0, 1.6, 2.5))
    assert not first.overlaps(estimate([1.0]))


def test_probability_of_improvement_of_normals_is_phi_of_their_distance() -> None:
    """P(N(delta, 1) > N(0, 1)) = Phi(delta / sqrt 2), averaged over tasks; 1 standard error here is about 0.005."""
    rng = np.random.default_rng(9)
    deltas = np.array([-0.5, 0.0, 1.0, 2.0])
    a, b = [rng.normal(delta, size=1000) for delta in deltas], [rng.normal(size=1000) for _ in deltas]
    found = probability_of_improvement(a, b, replicates=100)
    assert found.value == pytest.approx(stats.norm.cdf(deltas / np.sqrt(2)).mean(), abs=0.015)


def test_probability_of_improvement_resamples_each_task_by_itself() -> None:
    """Wholly ahead on one task and wholly behind on the other: however each is resampled, the average stays."""
    assert probability_of_improvement([[3.0, 4.0], [-1.0, 0.0]], [[1.0, 2.0], [1.0, 2.0]]) == (0.5, 0.5, 0.5)
    assert not probability_of_improvement([[1.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]]).has_interval
