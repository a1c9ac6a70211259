"""Sample efficiency: the reward that runs have at equal reward queries, equal seconds or equal KL.

A learning curve is (spent, reward): [n] each, how much of the budget was used at a measurement and what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ddpo_bench.analysis.statistics import Array

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
    """
    spent, reward = (np.asarray(side, dtype=np.float64) for side in curve)
    last = np.searchsorted(spent, np.asarray(budget, dtype=np.float64), side="right")
    return np.concatenate([[np.nan], reward])[last]


def common_budget(curves: Sequence[Curve]) -> float:
    """The largest budget that all of some runs reached; beyond it some would be judged by what they had not spent."""
    return min(float(np.asarray(spent)[-1]) for spent, _ in curves)


def kl_spent(kl: ArrayLike) -> Array:
    """KL to the pretrained model as a budget: the most it was so far, as KL itself may fall again.

    The reward at a KL budget is then the last one before the run first went farther.

    Args:
        kl: [n], in the order of training.
    """
    return np.maximum.accumulate(np.asarray(kl, dtype=np.float64))
