"""One figure over several tasks (rewards): aggregate scores and probability of improvement (Agarwal et al. 2021).

Scores are [n] a task, one a seed; tasks may differ in n. A replicate redraws the seeds of every task by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ddpo_bench.analysis.statistics import (
    CONFIDENCE,
    REPLICATES,
    Array,
    Estimate,
    bootstrap_interval,
    improvement,
    iqm,
    percentiles,
    split_strata,
)

Scores = Sequence[ArrayLike]  # one [n] a task


def normalise(scores: Mapping[str, Scores], baseline: str) -> dict[str, list[Array]]:
    """Scores on one scale for all tasks: 0 = the baseline's IQM on the task, 1 = the best algorithm's.

    The two ends are taken as known: intervals of normalised scores say nothing of their error.

    Args:
        scores: by algorithm; tasks in the same order for each.
        baseline: an algorithm of `scores`.
    Raises:
        ValueError: where the baseline is missing, tasks do not match, or nothing beats the baseline on a task, which
            then has no scale.
    """
    if baseline not in scores:
        raise ValueError(f"no scores of the baseline {baseline!r}; there are {', '.join(map(repr, scores))}")
    if len({len(tasks) for tasks in scores.values()}) > 1:
        counts = ", ".join(f"{name}: {len(tasks)}" for name, tasks in scores.items())
        raise ValueError(f"algorithms must have the same tasks, got {counts}")
    centres = {name: np.array([iqm(task) for task in tasks]) for name, tasks in scores.items()}  # [tasks]
    zero, one = centres[baseline], np.max(list(centres.values()), axis=0)
    if (one == zero).any():
        raise ValueError(
            f"nothing beats {baseline!r} on task {int(np.argmax(one == zero))}: it has no scale, leave it out"
        )
    return {
        name: [(np.asarray(task) - zero[k]) / (one[k] - zero[k]) for k, task in enumerate(tasks)]
        for name, tasks in scores.items()
    }


def aggregate_iqm(
    scores: Scores, replicates: int = REPLICATES, seed: int = 0, confidence: float = CONFIDENCE
) -> Estimate:
    """IQM of the runs of all tasks together, with its stratified bootstrap interval.

    A quarter of all runs is cut off each end, so a task with more runs counts for more.

    Returns:
        the same for the same scores; its interval is NaN where a task has one run.
    """
    tasks = split_strata(list(scores))
    value = float(iqm(np.concatenate(tasks)))
    return Estimate(value, *bootstrap_interval(tasks, iqm, replicates, seed, confidence))


def aggregate_mean(
    scores: Scores, replicates: int = REPLICATES, seed: int = 0, confidence: float = CONFIDENCE
) -> Estimate:
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
    return Estimate(value, *bootstrap_interval(tasks, mean_of_means, replicates, seed, confidence))


def average_probability_of_improvement(
    a: Scores, b: Scores, replicates: int = REPLICATES, seed: int = 0, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean over tasks of P(a > b) + P(a = b) / 2 (Agarwal et al. 2021, section 4.3; Mann and Whitney 1947).

    Only the order of scores within a task enters, so they need no normalising.

    Args:
        a, b: unpaired; tasks in the same order.
    Returns:
        in [0, 1]; its interval resamples both sides of every task, NaN where a side of a task has one run.
    Raises:
        ValueError: where a and b differ in their number of tasks.
    """
    if len(a) != len(b):
        raise ValueError(f"both algorithms must have the same tasks, got {len(a)} and {len(b)}")
    rng = np.random.default_rng(seed)
    pairs = zip(split_strata(list(a)), split_strata(list(b)), strict=True)
    values, resampled = zip(*(improvement(*pair, replicates, rng) for pair in pairs), strict=True)
    return Estimate(float(np.mean(values)), *percentiles(np.mean(resampled, axis=0), confidence))
