"""The reward's gradient through the last denoising steps, against finite differences of the images' own reward."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from toy import Chain, LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.reward_gradient import RewardGradientAlgorithm
from ddpo_bench.config import run_config
from ddpo_bench.parsing import ConfigError

pytestmark = pytest.mark.usefixtures("float64")


@dataclass
class LastSteps(RewardGradientAlgorithm):
    """Ascends the reward through K steps."""

    K: int = 1

    def last_steps(self, steps: int, generator: torch.Generator) -> int:
        return self.K


def gradient(policy: LinearPolicy, last: int) -> list[Tensor]:
    algorithm, rollout = LastSteps(), draw_rollout(LinearPolicy(), samples=6)
    return list(torch.autograd.grad(algorithm.loss(policy, rollout, torch.arange(6), last)[0], policy.parameters()))


def moved_policy() -> LinearPolicy:
    policy = LinearPolicy()
    with torch.no_grad():
        policy.bias += 0.3
        policy.weight += 0.1
    return policy


def test_the_samples_are_those_of_the_rollout_before_the_first_update() -> None:
    policy = LinearPolicy()
    rollout = draw_rollout(policy, samples=6)
    torch.testing.assert_close(LastSteps().drawn(policy, rollout, torch.arange(6), 2), rollout.x_0)


def test_through_all_steps_it_is_the_derivative_of_the_mean_reward() -> None:
    """The noise being the same, by central differences in every parameter."""
    policy, algorithm = moved_policy(), LastSteps()
    rollout, samples = draw_rollout(LinearPolicy(), samples=6), torch.arange(6)
    for parameter, found in zip(policy.parameters(), gradient(policy, 4), strict=True):
        for index in range(parameter.numel()):
            ends = []
            for side in (1e-4, -1e-4):
                with torch.no_grad():
                    parameter.view(-1)[index] += side
                    ends.append(algorithm.loss(policy, rollout, samples, 4)[0].item())
                    parameter.view(-1)[index] -= side
            assert found.flatten()[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-6, abs=1e-9)


def test_it_stops_before_the_last_steps() -> None:
    policy = moved_policy()
    whole = gradient(policy, 4)
    for last in (1, 2, 3):
        for found, full in zip(gradient(policy, last), whole, strict=True):
            reached = torch.isin(torch.arange(4), Chain.timesteps[-last:])
            assert not found[~reached].any()
            torch.testing.assert_close(found[reached], full[reached])


def test_a_reward_without_a_gradient_is_refused_in_one_line() -> None:
    settings = {"algorithm": "reward_gradient", "reward": "jpeg_compressibility"}
    with pytest.raises(ConfigError, match="jpeg_compressibility is not differentiable, and reward_gradient") as raised:
        run_config(settings, "test")
    assert len(raised.value.mistakes) == 1
