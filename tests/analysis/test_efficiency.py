from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpo_bench.analysis.efficiency import Curve, common_budget, kl_spent, reward_at

CURVE: Curve = ([10.0, 20.0, 20.0, 40.0], [1.0, 3.0, 2.0, 0.5])


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10.0, 1.0),
        (19.9, 1.0),  # not interpolated towards the next measurement
        (20.0, 2.0),  # the last of two at the same point
        (39.9, 2.0),  # not the best so far
        (40.0, 0.5),
        (1e9, 0.5),
    ],
)
def test_reward_at_a_budget_is_the_last_measurement_at_or_under_it(budget: float, expected: float) -> None:
    assert reward_at(CURVE, budget) == expected


def test_there_is_no_reward_before_the_first_measurement() -> None:
    assert np.isnan(reward_at(CURVE, 9.9))
    assert np.isnan(reward_at(([], []), 9.9))
    assert reward_at(CURVE, np.full((2, 5), 20.0)).shape == (2, 5)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-1, 1)), max_size=10), st.floats(0, 25))
def test_reward_at_a_budget_ignores_whatever_came_later(points: list[tuple[int, float]], budget: float) -> None:
    points = sorted(points, key=lambda point: point[0])
    within = [reward for spent, reward in points if spent <= budget]
    found = reward_at(([spent for spent, _ in points], [reward for _, reward in points]), budget)
    assert found == within[-1] if within else np.isnan(found)


def test_runs_are_compared_at_the_largest_budget_that_all_reached() -> None:
    slow: Curve = ([8.0, 16.0, 24.0, 32.0], [0.0, 1.0, 2.0, 3.0])
    assert common_budget([CURVE, slow]) == 32.0
    assert [reward_at(curve, 32.0) for curve in (CURVE, slow)] == [2.0, 3.0]


def test_reward_at_a_kl_is_the_last_one_before_the_run_first_went_farther() -> None:
    kl, reward = [0.0, 1.0, 5.0, 0.5], [0.1, 0.2, 0.3, 0.4]
    assert list(kl_spent(kl)) == [0.0, 1.0, 5.0, 5.0]
    assert list(reward_at((kl_spent(kl), reward), [0.5, 1.0, 4.9, 5.0])) == [0.1, 0.2, 0.2, 0.4]
