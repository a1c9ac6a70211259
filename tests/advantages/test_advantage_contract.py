"""What every advantage estimator promises: this covers a new one the moment it is registered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from every_plugin import make

from ddpo_bench.protocols import AdvantageEstimator
from ddpo_bench.registry import names


@pytest.fixture(params=names("advantages"))
def estimator(request: pytest.FixtureRequest) -> AdvantageEstimator:
    return make("advantages", request.param)


def draw(seed: int) -> tuple[list[str], torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [str(prompt) for prompt in rng.choice(list("abc"), 24)], torch.from_numpy(rng.normal(3, 2, 24))


def test_an_advantage_is_one_finite_float32_a_sample(estimator: AdvantageEstimator) -> None:
    advantages = estimator.update(*draw(0))
    assert advantages.shape == (24,)
    assert advantages.dtype == torch.float32
    assert torch.isfinite(advantages).all()


def test_advantages_rank_the_samples_of_a_prompt_by_their_rewards(estimator: AdvantageEstimator) -> None:
    prompts, rewards = draw(0)
    advantages = estimator.update(prompts, rewards)
    for prompt in set(prompts):
        own = torch.tensor([p == prompt for p in prompts])
        assert torch.equal(advantages[own].argsort(), rewards[own].argsort())


def test_what_stands_far_out_gets_no_more_than_five(estimator: AdvantageEstimator) -> None:
    rewards = torch.zeros(200, dtype=torch.float64)
    rewards[0] = 1e6
    assert 0 < estimator.update(["a"] * 200, rewards).max() <= 5


@pytest.mark.parametrize("reward", [0.1, 1e9 + 0.1, -1e-9])
def test_equal_rewards_get_no_advantage(estimator: AdvantageEstimator, reward: float) -> None:
    """Their mean may round to another number, and an optimiser that scales gradients would learn the difference."""
    for seed in (0, 1):
        assert not estimator.update(draw(seed)[0], torch.full((24,), reward, dtype=torch.float64)).any()


def test_an_estimator_resumes_from_its_state(estimator: AdvantageEstimator) -> None:
    other = type(estimator)()
    estimator.update(*draw(0))
    other.load_state_dict(estimator.state_dict())
    assert torch.equal(other.update(*draw(1)), estimator.update(*draw(1)))
    assert torch.equal(other.update(*draw(2)), estimator.update(*draw(2)))
