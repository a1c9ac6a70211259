"""The adaptive penalty holds the exact KL at its target."""

from __future__ import annotations

import numpy as np
import pytest
from toy import LinearPolicy, draw_rollout, learn

from ddpo_bench.algorithms.trpo_penalty import TRPOPenalty
from ddpo_bench.quantity import MEAN_UNITS, Quantity

MAX_KL = 0.05


def updated(max_kl: float) -> tuple[TRPOPenalty, float]:
    """The algorithm after one update, and the KL of that update, which the target does not touch."""
    policy, algorithm = LinearPolicy(), TRPOPenalty(learning_rate=0.05, max_kl=Quantity(max_kl, MEAN_UNITS))
    algorithm.start(policy, seed=0)
    metrics = algorithm.update(policy, draw_rollout(policy))
    assert metrics["trpo_penalty/beta"] == 1.0
    return algorithm, metrics["kl_behaviour"]


@pytest.mark.parametrize(("over_target", "factor"), [(1.6, 2.0), (1.4, 1.0), (0.7, 1.0), (0.6, 0.5)])
def test_beta_doubles_above_and_halves_below_the_target_kl(over_target: float, factor: float) -> None:
    spent = updated(1.0)[1]
    algorithm, again = updated(spent / over_target)
    assert again == spent
    assert algorithm.beta == factor


def test_the_kl_of_an_update_stays_near_its_target_while_there_is_something_to_learn() -> None:
    rows = learn(TRPOPenalty(learning_rate=0.05, minibatches=10, max_kl=Quantity(MAX_KL, MEAN_UNITS)), epochs=24)[1]
    spent = np.array([row["kl_behaviour"] for row in rows[8:]])
    assert MAX_KL / 2 < np.exp(np.log(spent).mean()) < MAX_KL * 2
    assert spent.max() < MAX_KL * 10


def test_a_smaller_target_kl_keeps_the_policy_nearer() -> None:
    spent = [
        learn(TRPOPenalty(learning_rate=0.05, max_kl=Quantity(target, MEAN_UNITS)), epochs=12)[1][-1]["kl_behaviour"]
        for target in (0.002, 0.1)
    ]
    assert spent[0] < spent[1] / 3


def test_beta_resumes_where_a_checkpoint_left_it() -> None:
    algorithm, _ = updated(1e-9)
    other = TRPOPenalty(max_kl=Quantity(1e-9, MEAN_UNITS))
    other.start(LinearPolicy(), seed=0)
    other.load_state_dict(algorithm.state_dict())
    assert other.beta == algorithm.beta == 2.0
