"""Every learning algorithm finds the optimum of a problem whose optimum is known, and `frozen` does not move."""

from __future__ import annotations

from typing import Any

import pytest
from toy import OPTIMUM, LinearPolicy, expected_reward, learn

from ddpo_bench.quantity import MEAN_UNITS, Quantity
from ddpo_bench.registry import get

START = expected_reward(LinearPolicy())  # -4.16; the optimum is -0.18
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "policy_gradient": ({"learning_rate": 0.1}, 50),
    "ppo": ({"learning_rate": 0.05, "clip_range": Quantity(0.2, MEAN_UNITS)}, 40),
    "trpo_penalty": ({"learning_rate": 0.05, "max_kl": Quantity(0.2, MEAN_UNITS)}, 50),
}


def share_of_the_way(reward: float) -> float:
    """0 where learning began, 1 at the optimum."""
    return (reward - START) / (OPTIMUM - START)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_gradient_algorithm_reaches_the_optimum(name: str) -> None:
    options, epochs = SETTINGS[name]
    policy, _ = learn(get("algorithm", name)(**options), epochs)
    assert 0.97 < share_of_the_way(expected_reward(policy)) <= 1


def test_soft_actor_critic_reaches_the_optimum() -> None:
    sac = get("algorithm", "sac")(learning_rate=0.05, batch=64, critic_updates=15, actor_updates=10, alpha=0.0)
    policy, _ = learn(sac, epochs=25, samples=64)
    assert 0.95 < share_of_the_way(expected_reward(policy)) <= 1


def test_frozen_stays_where_it_began() -> None:
    policy, rows = learn(get("algorithm", "frozen")(), epochs=3)
    assert expected_reward(policy) == START
    assert rows == [{}, {}, {}]
