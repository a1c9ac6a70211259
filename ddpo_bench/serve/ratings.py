"""How good models are found to be, from votes on pairs: Bradley and Terry 1952, with ties as Davidson 1970.

A model of log-strength theta wins, loses and ties against another with probabilities proportional to exp(theta_1),
exp(theta_2) and exp(eta + (theta_1 + theta_2) / 2); eta says how often people call a tie.  A weak normal prior makes
the maximum exist where a model has won everything, or nobody called a tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

Choice = Literal["left", "right", "tie"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie")
PRIOR_STD = 2.0  # of a log-strength and of eta: a model two of them ahead wins 98 % of its votes
POINTS = 400 / math.log(10)  # of a rating in one unit of log-strength: 400 points more win ten times as often (Elo)
NORMAL_95 = 1.959964

Array = NDArray[np.float64]


class Vote(NamedTuple):
    """Which of two models' pictures was preferred."""

    left: str
    right: str
    choice: Choice


class Rating(NamedTuple):
    """A rating in Elo's points, 0 being the average of the rated models, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Strengths:
    """The posterior of the models' log-strengths, as a normal distribution around its maximum (Laplace).

    Attributes:
        models: n names.
        mean: [n].
        covariance: [n, n], the inverse of the Fisher information with the prior's.
        log_tie: eta.
    """

    models: list[str]
    mean: Array
    covariance: Array
    log_tie: float

    def ratings(self) -> dict[str, Rating]:
        """Every model's rating relative to their average, in the order of `models`."""
        centred = np.eye(len(self.models)) - 1 / max(len(self.models), 1)
        values = POINTS * centred @ self.mean
        reach = POINTS * NORMAL_95 * np.sqrt(np.diag(centred @ self.covariance @ centred))
        return {
            name: Rating(float(value), float(value - half), float(value + half))
            for name, value, half in zip(self.models, values, reach, strict=True)
        }

    @cached_property
    def informative(self) -> Array:
        """[n, n]: what a vote on a pair would tell, the variance of their difference times that of the outcome."""
        variance = np.diag(self.covariance)
        difference = variance[:, None] + variance[None, :] - 2 * self.covariance
        wins = expit(self.mean[:, None] - self.mean[None, :])
        return difference * wins * (1 - wins)


def strengths(votes: Sequence[Vote], models: Sequence[str] = ()) -> Strengths:
    """The most likely log-strengths under the votes and the prior.

    Args:
        models: further ones to include, of which there may be no votes.
    """
    names = list(dict.fromkeys([*models, *(name for vote in votes for name in vote[:2])]))
    design, counts = tallied(votes, names)

    def negative(point: Array) -> tuple[float, Array]:
        logits = design @ point  # [pairs, 3]
        missing = counts - counts.sum(1, keepdims=True) * softmax(logits, axis=1)
        value = -(counts * log_softmax(logits, axis=1)).sum() + 0.5 * (point**2).sum() / PRIOR_STD**2
        return float(value), point / PRIOR_STD**2 - np.einsum("pc,pck->k", missing, design)

    def information(point: Array) -> Array:
        shares = softmax(design @ point, axis=1)
        centred = design - np.einsum("pc,pck->pk", shares, design)[:, None]
        weights = counts.sum(1, keepdims=True) * shares
        return np.einsum("pc,pck,pcl->kl", weights, centred, centred) + np.eye(len(point)) / PRIOR_STD**2

    start = np.zeros(len(names) + 1)
    found = minimize(negative, start, jac=True, hess=information, method="trust-exact", options={"gtol": 1e-8})
    covariance: Array = np.linalg.inv(information(found.x))[:-1, :-1].astype(np.float64)
    return Strengths(names, found.x[:-1], covariance, float(found.x[-1]))


def tallied(votes: Sequence[Vote], names: list[str]) -> tuple[Array, Array]:
    """The three outcomes of every pair as rows that are linear in (theta, eta), and how often each was chosen.

    Returns:
        [pairs, 3, n + 1] and [pairs, 3].
    """
    place = {name: index for index, name in enumerate(names)}
    pairs = {(vote.left, vote.right): row for row, vote in enumerate({vote[:2]: vote for vote in votes}.values())}
    design, counts = np.zeros((len(pairs), 3, len(names) + 1)), np.zeros((len(pairs), 3))
    for (left, right), row in pairs.items():
        design[row, 0, place[left]] = design[row, 1, place[right]] = design[row, 2, -1] = 1
        design[row, 2, [place[left], place[right]]] = 0.5
    for vote in votes:
        counts[pairs[vote[0], vote[1]], CHOICES.index(vote.choice)] += 1
    return design, counts


def next_pair(votes: Sequence[Vote], models: Sequence[str], random: np.random.Generator) -> tuple[str, str]:
    """The two models on which a vote would tell most, at random among equals and in a random order.

    Raises:
        ValueError: where there are fewer than two models.
    """
    if len(models) < 2:
        raise ValueError("a vote needs two models")
    found = strengths(votes, models)
    worth = np.triu(found.informative[: len(models), : len(models)], k=1)
    equals = np.argwhere(worth >= worth.max() * (1 - 1e-6))
    first, second = random.permutation(equals[random.integers(len(equals))])
    return models[first], models[second]
