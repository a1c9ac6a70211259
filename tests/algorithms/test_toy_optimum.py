"""Every learning algorithm finds the optimum of a problem whose optimum is known, and `frozen` does not move."""

from __future__ import annotations

from typing import Any

import pytest
from toy import OPTIMUM, LinearPolicy, expected_reward, learn

from ddpo_bench.options import options_of
from ddpo_bench.quantity import MEAN_UNITS, Quantity
from ddpo_bench.registry import get, names

START = expected_reward(LinearPolicy())  # -4.16; the optimum is -0.18
LEARNERS = [name for name in names("algorithm") if get("algorithm", name).learns]
SETTINGS: dict[str, dict[str, Any]] = {  # that serve an algorithm better than its defaults with the learning rate below
    "policy_gradient": {"learning_rate": 0.1},
    "ppo": {"clip_range": Quantity(0.2, MEAN_UNITS)},
    "nft": {"learning_rate": 0.02, "passes": 2},
    "dpo": {"passes": 10},
    "dgpo": {"learning_rate": 0.02, "passes": 4, "beta": 20.0, "clip_range": 0.1},
    "grpo": {"clip_range": Quantity(0.2, MEAN_UNITS), "kl_weight": 0.0},
    "awm": {"timestep_fraction": 1.0},  # of four steps the last is one that must be learned
    "grpo_guard": {"clip_range": Quantity(0.1, MEAN_UNITS)},
    "dppo": {"delta": Quantity(0.02, MEAN_UNITS)},
    "dpok": {"clip_range": Quantity(0.2, MEAN_UNITS), "kl_weight": 0.0, "epochs": 20},
    "trpo": {"max_kl": Quantity(0.2, MEAN_UNITS), "epochs": 30},
    "trpo_penalty": {"max_kl": Quantity(0.2, MEAN_UNITS)},
    "sac": {"batch": 64, "critic_updates": 15, "actor_updates": 10, "alpha": 0.0, "epochs": 25, "samples": 64},
}


def share_of_the_way(reward: float) -> float:
    """0 where learning began, 1 at the optimum."""
    return (reward - START) / (OPTIMUM - START)


@pytest.mark.parametrize("name", LEARNERS)
def test_an_algorithm_that_learns_reaches_the_optimum(name: str) -> None:
    rate = {"learning_rate": 0.05} if "learning_rate" in options_of(get("algorithm", name)) else {}
    options = {**rate, "epochs": 50, "samples": 256, **SETTINGS.get(name, {})}
    epochs, samples = options.pop("epochs"), options.pop("samples")
    policy, _ = learn(get("algorithm", name)(**options), epochs, samples)
    assert 0.95 < share_of_the_way(expected_reward(policy)) <= 1


def test_frozen_stays_where_it_began() -> None:
    policy, rows = learn(get("algorithm", "frozen")(), epochs=3)
    assert expected_reward(policy) == START
    assert rows == [{}, {}, {}]
