"""Point estimates and bootstrap intervals over seeds (Agarwal et al. 2021, "Deep RL at the edge of the statistical
precipice").

The unit is the seed: whatever a run measured on many images is averaged before it comes here. A NaN among the values
makes every result NaN: a run that lacks its measurement is never quietly the best or the worst one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPLICATES = 10_000
CONFIDENCE = 0.95

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]  # reduces the last axis


class Estimate(NamedTuple):
    """A value with its interval; `low` and `high` are NaN where there is no interval (one seed)."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        return not np.isnan(self.low)

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals share a point; False where either has none."""
        return self.low <= other.high and other.low <= self.high


def iqm(values: ArrayLike) -> Array:
    """Interquartile mean over the last axis: the mean without a quarter of the values, rounded down, at each end.

    Of fewer than four values nothing is cut: it is their mean.

    Args:
        values: [..., n], n >= 1.
    Returns:
        [...]; NaN where a value is, which the cut would else take off as if it were the largest.
    """
    values = np.asarray(values, dtype=np.float64)
    n = values.shape[-1]
    cut = n // 4
    kept = np.partition(values, (cut, n - cut - 1), axis=-1)[..., cut : n - cut]
    return np.where(np.isnan(values).any(axis=-1), np.nan, kept.mean(axis=-1))


def bootstrap_interval(
    values: ArrayLike | Sequence[ArrayLike], statistic: Statistic = iqm, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float]:
    """95 % stratified percentile bootstrap interval (Efron 1979); the order of the values does not change it.

    With very few seeds it is too narrow: a replicate is made of the measured values, so no interval reaches beyond
    their range, and the range of three normal values contains the true mean only 75 % of the time.

    Args:
        values: [n], or one array a stratum (a task); each is resampled by itself, then they are joined.
        statistic: reduces the last axis of [replicates, n].
    Returns:
        low and high; NaN where a stratum has a single value, which resampling would take for exactly known.
    Raises:
        ValueError: where a stratum is empty or not one-dimensional.
    """
    strata = [np.sort(stratum) for stratum in split_strata(values)]  # or the draws would depend on the order of seeds
    if any(len(stratum) < 2 for stratum in strata):
        return float("nan"), float("nan")
    indices = drawn_indices(tuple(map(len, strata)), replicates, seed)
    resampled = [stratum[drawn] for stratum, drawn in zip(strata, indices, strict=True)]
    return central(statistic(np.concatenate(resampled, axis=-1)))


def estimate(values: ArrayLike | Sequence[ArrayLike]) -> Estimate:
    """Point estimate of [n] values, one a seed, with its bootstrap interval.

    Args:
        values: [n], or one array a task, whose seeds are resampled by themselves; a task with more runs counts for
            more.
    """
    strata = split_strata(values)
    return Estimate(float(iqm(np.concatenate(strata))), *bootstrap_interval(strata))


def paired_difference(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Estimate of a - b over seeds that share their prompts and noise; a pair is resampled as one.

    Args:
        a, b: [n], seed by seed.
    """
    return estimate(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))


def probability_of_improvement(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], replicates: int = REPLICATES, seed: int = 0
) -> Estimate:
    """P(a > b) + P(a = b) / 2 for a random seed of each, Mann and Whitney's U / (n m), as a mean over tasks (Agarwal
    et al. 2021, section 4.3).

    Only the order of scores within a task enters, so they need no normalising.

    Args:
        a, b: [n] and [m] a task, unpaired; tasks in the same order.
    Returns:
        in [0, 1]; its interval resamples both sides of every task, NaN where a side of a task has one value.
    """
    wins = [share_of_wins(ours, theirs) for ours, theirs in zip(a, b, strict=True)]
    value = float(np.mean([task.mean() for task in wins]))
    sizes = tuple(n for task in wins for n in task.shape)
    if min(sizes) < 2:
        return Estimate(value, float("nan"), float("nan"))
    weights = iter(drawn_weights(sizes, replicates, seed))
    resampled = [((next(weights) @ task) * next(weights)).sum(axis=-1) for task in wins]  # [replicates] a task
    return Estimate(value, *central(np.mean(resampled, axis=0)))


def share_of_wins(a: ArrayLike, b: ArrayLike) -> Array:
    """[n, m]: 1 where a value of a is above one of b, 1/2 where they are equal; both sides sorted."""
    a, b = np.sort(np.asarray(a, dtype=np.float64)), np.sort(np.asarray(b, dtype=np.float64))
    return np.heaviside(a[:, None] - b[None, :], 0.5)


@lru_cache(maxsize=4)
def drawn_indices(sizes: tuple[int, ...], replicates: int, seed: int) -> list[NDArray[np.int64]]:
    """Which values each replicate draws from strata of these sizes, [replicates, n] each: the estimates of a table that
    have equally many seeds share them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(n, size=(replicates, n)) for n in sizes]


@lru_cache(maxsize=4)
def drawn_weights(sizes: tuple[int, ...], replicates: int, seed: int) -> list[Array]:
    """The share of each value in what each replicate draws, [replicates, n] each; a linear statistic needs no more."""
    rng = np.random.default_rng(seed)
    return [rng.multinomial(n, np.full(n, 1 / n), size=replicates) / n for n in sizes]


def split_strata(values: ArrayLike | Sequence[ArrayLike]) -> list[Array]:
    """One [n] array a stratum; plain numbers are a single stratum."""
    if isinstance(values, (list, tuple)) and all(np.ndim(item) == 1 for item in values):
        strata = [np.asarray(stratum, dtype=np.float64) for stratum in values]
    else:
        strata = [np.asarray(values, dtype=np.float64)]
    if not strata or any(stratum.ndim != 1 or len(stratum) == 0 for stratum in strata):
        raise ValueError("values must be [n] with n >= 1, or a list of such, one a stratum")
    return strata


def central(replicates: Array) -> tuple[float, float]:
    """The ends of the central interval of [replicates] statistics."""
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
