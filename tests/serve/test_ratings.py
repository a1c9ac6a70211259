"""Bradley-Terry ratings against an independent maximum, closed forms, and simulated voters of known taste."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from ddpo_bench.serve.ratings import CHOICES, POINTS, PRIOR_STD, Vote, next_pair, strengths

TASTE = {"pretrained": 0.0, "ppo": 0.8, "sac": -0.5, "dpo": 1.4, "nft": 0.3}
TIES = 0.6


def probabilities(first: float, second: float, eta: float) -> list[float]:
    """Davidson 1970, as written there: strengths pi = exp(theta), ties nu * sqrt(pi_1 pi_2)."""
    pi_1, pi_2 = math.exp(first), math.exp(second)
    tie = math.exp(eta) * math.sqrt(pi_1 * pi_2)
    total = pi_1 + pi_2 + tie
    return [pi_1 / total, pi_2 / total, tie / total]


def drawn_votes(count: int, random: np.random.Generator) -> list[Vote]:
    names = list(TASTE)
    votes = []
    for _ in range(count):
        left, right = random.choice(names, 2, replace=False)
        choice = random.choice(3, p=probabilities(TASTE[left], TASTE[right], math.log(TIES)))
        votes.append(Vote(str(left), str(right), CHOICES[choice]))
    return votes


def test_they_are_those_of_an_independent_maximum_and_its_curvature() -> None:
    votes, names = drawn_votes(80, np.random.default_rng(3)), list(TASTE)

    def negative(point: np.ndarray) -> float:
        strength, eta = dict(zip(names, point[:-1], strict=True)), point[-1]
        likely = sum(
            math.log(probabilities(strength[vote.left], strength[vote.right], eta)[CHOICES.index(vote.choice)])
            for vote in votes
        )
        return -likely + sum(value**2 for value in point) / (2 * PRIOR_STD**2)

    best = minimize(negative, np.full(6, 0.1))  # BFGS on finite differences
    found = strengths(votes, names)
    np.testing.assert_allclose([*found.mean, found.log_tie], best.x, atol=1e-4)

    def curvature(a: np.ndarray, b: np.ndarray) -> float:
        near = [negative(best.x + 1e-3 * (s * a + t * b)) * s * t for s in (-1, 1) for t in (-1, 1)]
        return sum(near) / 4e-6

    hessian = [[curvature(a, b) for a in np.eye(6)] for b in np.eye(6)]
    np.testing.assert_allclose(found.covariance, np.linalg.inv(hessian)[:-1, :-1], rtol=1e-3, atol=1e-5)


def test_two_models_without_ties_have_the_log_odds_of_their_wins() -> None:
    votes = [Vote("a", "b", "left")] * 3000 + [Vote("b", "a", "left")] * 1000
    ratings = strengths(votes).ratings()
    gap = ratings["a"].value - ratings["b"].value
    assert gap == pytest.approx(POINTS * math.log(3), rel=2e-3)  # 191 points, but for the prior
    assert ratings["a"].value == pytest.approx(-ratings["b"].value)
    half = (ratings["a"].high - ratings["a"].low) / 2
    assert half == pytest.approx(POINTS * 1.96 / 2 / math.sqrt(4000 * 0.75 * 0.25), rel=2e-2)


def test_a_model_that_won_everything_is_rated_and_its_interval_is_wide() -> None:
    ratings = strengths([Vote("a", "b", "left")] * 5).ratings()
    assert 0 < ratings["a"].value < 1000
    assert ratings["a"].low < 0 < ratings["a"].high
    assert all(map(math.isfinite, (*ratings["a"], *ratings["b"])))


def test_ties_pull_together_and_sides_do_not_matter() -> None:
    won = strengths([Vote("a", "b", "left")] * 6).ratings()
    tied = strengths([Vote("a", "b", "left")] * 6 + [Vote("b", "a", "tie")] * 6).ratings()
    assert 0 < tied["a"].value < won["a"].value
    mirror = [Vote("b", "a", "right")] * 6 + [Vote("a", "b", "tie")] * 6
    assert strengths(mirror, ["a", "b"]).ratings()["a"] == pytest.approx(tied["a"])


def test_intervals_hold_the_true_rating_as_often_as_they_say() -> None:
    random, held = np.random.default_rng(0), []
    mean = np.mean(list(TASTE.values()))
    for _ in range(80):
        ratings = strengths(drawn_votes(150, random), list(TASTE)).ratings()
        held += [rating.low <= POINTS * (TASTE[name] - mean) <= rating.high for name, rating in ratings.items()]
    assert 0.91 < np.mean(held) < 0.99


def test_the_next_pair_is_the_one_that_is_known_least() -> None:
    names = ["a", "b", "c"]
    votes = [Vote("a", "b", "left"), Vote("b", "a", "left")] * 10
    random = np.random.default_rng(0)
    assert all("c" in next_pair(votes, names, random) for _ in range(20))
    drawn = {next_pair([], names, random) for _ in range(100)}
    assert len(drawn) == 6  # every pair, on either side
    assert next_pair([], names, np.random.default_rng(7)) == next_pair([], names, np.random.default_rng(7))


def test_pairs_chosen_so_leave_no_model_out_and_find_the_best() -> None:
    random, names, votes = np.random.default_rng(1), list(TASTE), []
    for _ in range(100):
        left, right = next_pair(votes, names, random)
        chosen = random.choice(3, p=probabilities(TASTE[left], TASTE[right], math.log(TIES)))
        votes.append(Vote(left, right, CHOICES[chosen]))
    seen = [sum(name in vote[:2] for vote in votes) for name in names]
    assert min(seen) > 20
    ratings = strengths(votes, names).ratings()
    assert max(ratings, key=lambda name: ratings[name].value) == "dpo"
