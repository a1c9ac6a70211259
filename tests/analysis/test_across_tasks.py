from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ddpo_bench.analysis.across_tasks import (
    aggregate_iqm,
    aggregate_mean,
    normalise,
)
from ddpo_bench.analysis.statistics import Estimate, estimate

Aggregate = Callable[..., Estimate]
AGGREGATES: list[Aggregate] = [aggregate_iqm, aggregate_mean]
TASKS = st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=6), min_size=1, max_size=4)


def draw(seed: int, *shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_one_task_agrees_with_scipy(aggregate: Aggregate) -> None:
    values = np.random.default_rng(1).gamma(2.0, size=15)
    statistic: Callable[..., float] = np.mean
    if aggregate is aggregate_iqm:
        statistic = partial(stats.trim_mean, proportiontocut=0.25)
    theirs = stats.bootstrap(
        (values,), statistic, n_resamples=50_000, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    ours = aggregate([values], replicates=50_000)
    assert ours.value == pytest.approx(statistic(values, axis=-1))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_iqm_of_one_task_is_the_estimate_of_its_runs() -> None:
    (task,) = draw(2, 1, 9)
    assert aggregate_iqm([task]) == estimate(task)


def test_aggregates_of_ragged_tasks_are_what_they_say() -> None:
    tasks = [[0.0, 2.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]]
    assert aggregate_iqm(tasks).value == pytest.approx(np.mean([10.0, 20.0, 30.0, 40.0]))
    assert aggregate_mean(tasks).value == pytest.approx((1.0 + 35.0) / 2)


def test_interval_of_a_mean_over_tasks_approaches_the_normal_one() -> None:
    rng = np.random.default_rng(3)
    tasks = [rng.normal(k, 1 + k, size=200 * (k + 1)) for k in range(3)]
    half = 1.96 * np.sqrt(sum(task.var() / len(task) for task in tasks)) / 3
    found = aggregate_mean(tasks)
    assert found.value == pytest.approx(np.mean([task.mean() for task in tasks]))
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.1)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(tasks=TASKS, data=st.data())
def test_the_order_of_seeds_changes_nothing(
    aggregate: Aggregate, tasks: list[list[float]], data: st.DataObject
) -> None:
    shuffled = [data.draw(st.permutations(task)) for task in tasks]
    first, second = aggregate(tasks, replicates=200), aggregate(shuffled, replicates=200)
    assert second == pytest.approx(first, rel=1e-9, abs=1e-9)  # sums in another order round differently


@pytest.mark.parametrize("aggregate", AGGREGATES)
@settings(deadline=None, max_examples=30)  # a busy machine is slow, not wrong
@given(tasks=TASKS, shift=st.floats(-100, 100), scale=st.floats(0.1, 10))
def test_another_origin_and_unit_move_the_estimate_along(
    aggregate: Aggregate, tasks: list[list[float]], shift: float, scale: float
) -> None:
    moved = aggregate([scale * np.array(task) + shift for task in tasks], replicates=200)
    assert moved == pytest.approx(scale * np.array(aggregate(tasks, replicates=200)) + shift, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_task_with_one_run_leaves_no_interval(aggregate: Aggregate) -> None:
    found = aggregate([[1.0], [1.0, 2.0, 3.0]])
    assert np.isfinite(found.value)
    assert not found.has_interval


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_missing_score_is_not_passed_over(aggregate: Aggregate) -> None:
    assert np.isnan(aggregate([[1.0, 2.0, 3.0, 4.0, np.nan], [1.0, 2.0]])).all()


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_fifty_thousand_replicates_of_ten_seeds_and_six_tasks_take_less_than_a_second(aggregate: Aggregate) -> None:
    tasks = draw(6, 6, 10)
    start = time.process_time()
    aggregate(tasks, replicates=50_000)
    assert time.process_time() - start < 1


def test_normalised_scores_put_the_baseline_at_zero_and_the_best_at_one() -> None:
    scores = {"frozen": [[1.0, 3.0], [-5.0]], "ppo": [[4.0, 8.0], [-4.0, -4.0]], "sac": [[2.0, 4.0], [0.0, 10.0]]}
    found = normalise(scores, "frozen")
    assert [list(task) for task in found["frozen"]] == [[-0.25, 0.25], [0.0]]
    assert [list(task) for task in found["ppo"]] == [[0.5, 1.5], [0.1, 0.1]]
    assert [list(task) for task in found["sac"]] == [[0.0, 0.5], [0.5, 1.5]]


def test_normalised_scores_do_not_depend_on_a_tasks_origin_and_unit() -> None:
    scores = {"frozen": draw(7, 2, 5), "ppo": [task + 2 for task in draw(8, 2, 5)]}
    moved = {name: [tasks[0], 1000 * tasks[1] - 7] for name, tasks in scores.items()}
    before, after = normalise(scores, "frozen"), normalise(moved, "frozen")
    assert all(np.allclose(before[name], after[name]) for name in scores)
