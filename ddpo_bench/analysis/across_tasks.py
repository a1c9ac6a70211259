"""All tasks (rewards) on one scale, with aggregates and performance profiles over them (Agarwal et al. 2021).

Scores are [n] a task, one a seed; tasks may differ in n. A replicate redraws the seeds of every task by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddpo_bench.analysis.statistics import (
    REPLICATES,
    Array,
    Estimate,
    bootstrap_interval,
    central,
    drawn_weights,
    iqm,
    split_strata,
)

Scores = Sequence[ArrayLike]  # one [n] a task


def normalise(scores: Mapping[str, Scores], baseline: str) -> dict[str, list[Array]]:
    """Scores on one scale for all tasks: 0 = the baseline's IQM on the task, 1 = the best algorithm's.

    The two ends are taken as known: intervals of normalised scores say nothing of their error.

    Args:
        scores: by algorithm; tasks in the same order for each; something beats the baseline on every task.
        baseline: an algorithm of `scores`.
    """
    centres = {name: np.array([iqm(task) for task in tasks]) for name, tasks in scores.items()}  # [tasks]
    zero, one = centres[baseline], np.max(list(centres.values()), axis=0)
    return {
        name: [(np.asarray(task) - zero[k]) / (one[k] - zero[k]) for k, task in enumerate(tasks)]
        for name, tasks in scores.items()
    }


def aggregate_iqm(scores: Scores, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """IQM of the runs of all tasks together, with its stratified bootstrap interval.

    A quarter of all runs is cut off each end, so a task with more runs counts for more.

    Returns:
        the same for the same scores; its interval is NaN where a task has one run.
    """
    tasks = split_strata(list(scores))
    return Estimate(float(iqm(np.concatenate(tasks))), *bootstrap_interval(tasks, iqm, replicates, seed))


def aggregate_mean(scores: Scores, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """Mean over tasks of a task's mean over its runs, with its stratified bootstrap interval.

    Every task counts the same; with equally many runs a task this is the mean of all runs.

    Returns:
        the same for the same scores; its interval is NaN where a task has one run.
    """
    tasks = split_strata(list(scores))
    weights = np.concatenate([np.full(len(task), 1 / (len(task) * len(tasks))) for task in tasks])

    def mean_of_means(runs: Array) -> Array:
        return runs @ weights

    value = float(mean_of_means(np.concatenate(tasks)))
    return Estimate(value, *bootstrap_interval(tasks, mean_of_means, replicates, seed))


class Profile(NamedTuple):
    """The share of runs above each tau, with its pointwise band; all [taus], `low` and `high` NaN without one."""

    tau: Array
    share: Array
    low: Array
    high: Array


def performance_profile(scores: Scores, tau: ArrayLike, replicates: int = REPLICATES, seed: int = 0) -> Profile:
    """Mean over tasks of the share of a task's runs with score > tau, with a band from the stratified bootstrap
    (section 4.2): whether an algorithm is better everywhere, or on some tasks and seeds only.

    The band holds at each tau by itself, not for the whole curve at once. Where all runs of all tasks are on one side
    of tau it has no width: no resampled set can tell how rare the other side is.

    Args:
        scores: on one scale for all tasks (`normalise`).
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
    weights = drawn_weights(tuple(map(len, tasks)), replicates, seed)
    resampled = sum(drawn @ runs / len(above) for drawn, runs in zip(weights, above, strict=True))
    return Profile(tau, share, *central(np.asarray(resampled)))
