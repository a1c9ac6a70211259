"""Point estimates and bootstrap intervals over seeds (Agarwal et al. 2021, "Deep RL at the edge of the statistical
precipice").

The unit is the seed: whatever a run measured on many images is averaged before it comes here. A NaN among the values
makes every figure of them NaN: a run that lacks its measurement is never quietly the best or the worst one.
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
    """A figure with its interval; `low` and `high` are NaN where there is no interval (one seed)."""

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
    values: ArrayLike | Sequence[ArrayLike],
    statistic: Statistic = iqm,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Stratified percentile bootstrap interval (Efron 1979); the same values, in any order, give the same interval.

    With very few seeds it is too narrow: a replicate is made of the measured values, so no interval reaches beyond
    their range, and the range of three normal values contains the true mean only 75 % of the time.

    Args:
        values: [n], or one array a stratum (a task); each is resampled by itself, then they are joined.
        statistic: reduces the last axis of [replicates, n].
        confidence: in (0, 1).
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
    return percentiles(statistic(np.concatenate(resampled, axis=-1)), confidence)


@lru_cache(maxsize=4)
def drawn_indices(sizes: tuple[int, ...], replicates: int, seed: int) -> list[NDArray[np.int64]]:
    """Which values each replicate draws from strata of these sizes, [replicates, n] each: the figures of a table that
    have equally many seeds share them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(n, size=(replicates, n)) for n in sizes]


def estimate(values: ArrayLike) -> Estimate:
    """Point estimate of [n] values, one a seed, with its bootstrap interval."""
    values = np.asarray(values, dtype=np.float64)
    return Estimate(float(iqm(values)), *bootstrap_interval(values))


def paired_difference(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Estimate of a - b over seeds that share their prompts and noise; a pair is resampled as one.

    Args:
        a, b: [n], seed by seed.
    Raises:
        ValueError: where they do not pair.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired differences need two equally long lists, got shapes {a.shape} and {b.shape}")
    return estimate(a - b)


def probability_of_improvement(
    a: ArrayLike, b: ArrayLike, replicates: int = REPLICATES, seed: int = 0, confidence: float = CONFIDENCE
) -> Estimate:
    """P(a > b) + P(a = b) / 2 for a random seed of each: Mann and Whitney's U / (n m).

    Args:
        a, b: [n] and [m], unpaired.
    Returns:
        in [0, 1]; its interval resamples both sides, NaN where either has one value.
    """
    wins = share_of_wins(a, b)
    if min(wins.shape) < 2:
        return Estimate(float(wins.mean()), float("nan"), float("nan"))
    resampled = resampled_wins(wins, *pair_of_weights(*wins.shape, replicates, seed))
    return Estimate(float(wins.mean()), *percentiles(resampled, confidence))


@lru_cache(maxsize=2)
def pair_of_weights(n: int, m: int, replicates: int, seed: int) -> tuple[Array, Array]:
    """`bootstrap_weights` of two sides, which all cells of a table with equally many seeds share."""
    rng = np.random.default_rng(seed)
    return bootstrap_weights(n, replicates, rng), bootstrap_weights(m, replicates, rng)


def improvement(a: ArrayLike, b: ArrayLike, replicates: int, rng: np.random.Generator) -> tuple[float, Array]:
    """The probability of improvement of a over b, and its [replicates]: NaN where either has one value."""
    wins = share_of_wins(a, b)
    if min(wins.shape) < 2:
        return float(wins.mean()), np.full(replicates, np.nan)
    weights_a, weights_b = (bootstrap_weights(n, replicates, rng) for n in wins.shape)
    return float(wins.mean()), resampled_wins(wins, weights_a, weights_b)


def share_of_wins(a: ArrayLike, b: ArrayLike) -> Array:
    """[n, m]: 1 where a value of a is above one of b, 1/2 where they are equal; both sides sorted."""
    a, b = np.sort(np.asarray(a, dtype=np.float64)), np.sort(np.asarray(b, dtype=np.float64))
    return np.heaviside(a[:, None] - b[None, :], 0.5)


def resampled_wins(wins: Array, weights_a: Array, weights_b: Array) -> Array:
    """[replicates]: the mean of `wins` when its rows and columns are weighted."""
    return ((weights_a @ wins) * weights_b).sum(axis=-1)


def bootstrap_weights(n: int, replicates: int, rng: np.random.Generator) -> Array:
    """[replicates, n]: the share of each of n values in a set drawn with replacement; a linear figure needs no more."""
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates) / n


def split_strata(values: ArrayLike | Sequence[ArrayLike]) -> list[Array]:
    """One [n] array a stratum; plain numbers are a single stratum."""
    if isinstance(values, (list, tuple)) and all(np.ndim(item) == 1 for item in values):
        strata = [np.asarray(stratum, dtype=np.float64) for stratum in values]
    else:
        strata = [np.asarray(values, dtype=np.float64)]
    if not strata or any(stratum.ndim != 1 or len(stratum) == 0 for stratum in strata):
        raise ValueError("values must be [n] with n >= 1, or a list of such, one a stratum")
    return strata


def percentiles(replicates: Array, confidence: float) -> tuple[float, float]:
    """The central interval of [replicates] statistics."""
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
