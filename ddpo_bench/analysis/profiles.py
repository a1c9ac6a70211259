"""Performance profiles: which share of the runs scores above tau (Agarwal et al. 2021, section 4.2).

A profile shows what one figure hides: whether an algorithm is better everywhere or on some tasks and seeds only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddpo_bench.analysis.statistics import CONFIDENCE, REPLICATES, Array, bootstrap_weights, split_strata


class Profile(NamedTuple):
    """The share of runs above each tau, with its pointwise band; all [taus], `low` and `high` NaN without one."""

    tau: Array
    share: Array
    low: Array
    high: Array


def performance_profile(
    scores: Sequence[ArrayLike],
    tau: ArrayLike,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Profile:
    """Mean over tasks of the share of a task's runs with score > tau, with a band from the stratified bootstrap.

    The band holds at each tau by itself, not for the whole curve at once. Where all runs of all tasks are on one side
    of tau it has no width: no resampled set can tell how rare the other side is.

    Args:
        scores: [n] a task, on one scale for all tasks (`normalise`); tasks may differ in n.
        tau: [taus], in any order.
    Returns:
        shares in [0, 1], the same for the same scores; the band is NaN where a task has one run.
    """
    tasks = [np.sort(task) for task in split_strata(list(scores))]
    tau = np.asarray(tau, dtype=np.float64)
    above = [np.heaviside(task[:, None] - tau, 0.0) for task in tasks]  # [n, taus]; of a NaN, NaN
    share = np.mean([runs.mean(axis=0) for runs in above], axis=0)
    if any(len(task) < 2 for task in tasks):
        return Profile(tau, share, np.full_like(share, np.nan), np.full_like(share, np.nan))
    rng = np.random.default_rng(seed)
    resampled = np.zeros((replicates, len(tau)))
    for runs in above:
        resampled += bootstrap_weights(len(runs), replicates, rng) @ runs / len(above)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Profile(tau, share, low, high)
