"""Sample efficiency: the reward that runs have at equal reward queries, equal seconds or equal KL.

A learning curve is (spent, reward): [n] each, how much of the budget was used at a measurement and what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ddpo_bench.analysis.statistics import Array, Estimate, estimate

Curve = tuple[ArrayLike, ArrayLike]  # spent, reward


def reward_at(curve: Curve, budget: ArrayLike) -> Array:
    """The reward of a run's last measurement at or under a budget: what it has if it is stopped there.

    Not interpolated between two measurements: that would use the next one, which the budget did not pay for. Not the
    best so far either: the best of noisy measurements is too high, and a policy that collapsed is not the one it was.

    Args:
        curve: spent must not fall; of measurements at the same point the last counts.
        budget: [...], in the unit of spent.
    Returns:
        [...]; NaN where the run has no measurement within the budget.
    Raises:
        ValueError: where spent falls, has a NaN, or is not as long as reward.
    """
    spent, reward = checked(curve)
    last = np.searchsorted(spent, np.asarray(budget, dtype=np.float64), side="right")
    return np.concatenate([[np.nan], reward])[last]


def rewards_at(curves: Sequence[Curve], budget: ArrayLike) -> Array:
    """`reward_at` of every run: [runs, ...]."""
    return np.array([reward_at(curve, budget) for curve in curves])


def estimate_at(curves: Sequence[Curve], budget: float) -> Estimate:
    """IQM over runs of their rewards at a budget, with its bootstrap interval.

    Returns:
        NaN where a run has no measurement within the budget: the other runs alone would flatter the algorithm.
    """
    return estimate(rewards_at(curves, budget))


def common_budget(curves: Sequence[Curve]) -> float:
    """The largest budget that all runs reached; beyond it some would be judged by what they had not spent.

    Raises:
        ValueError: without runs, or where a run has no measurement.
    """
    ends = [spent[-1] for spent, _ in map(checked, curves) if len(spent)]
    if not ends or len(ends) < len(curves):
        raise ValueError(f"a common budget needs a measurement of every run, {len(ends)} of {len(curves)} have one")
    return float(min(ends))


def kl_spent(kl: ArrayLike) -> Array:
    """KL to the pretrained model as a budget: the most it was so far, as KL itself may fall again.

    The reward at a KL budget is then the last one before the run first went farther.

    Args:
        kl: [n], in the order of training.
    """
    return np.maximum.accumulate(np.asarray(kl, dtype=np.float64))


def checked(curve: Curve) -> tuple[Array, Array]:
    spent, reward = (np.asarray(side, dtype=np.float64) for side in curve)
    if spent.ndim != 1 or spent.shape != reward.shape:
        raise ValueError(f"a learning curve is two equally long lists, got shapes {spent.shape} and {reward.shape}")
    if np.isnan(spent).any() or (np.diff(spent) < 0).any():
        raise ValueError("what a run has spent must not fall or be NaN along its learning curve")
    return spent, reward
