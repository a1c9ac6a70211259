"""Reward-weighted regression against its closed form, and what published implementations of it got wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy import TARGETS, LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, noised_samples
from ddpo_bench.algorithms.rwr import RWR, weights_of
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Conditioning, Rollout

pytestmark = pytest.mark.usefixtures("float64")


def noised(policy: LinearPolicy, rollout: Rollout) -> NoisedSamples:
    """Every sample at a step of its own."""
    steps, draws = torch.arange(len(rollout)) % rollout.steps, torch.zeros(len(rollout)).long()
    every = list(torch.arange(len(rollout)).split(1))
    return noised_samples(policy, rollout, every, steps, draws, Noise(0, 0, "learning"))


def test_the_gradient_is_the_closed_form() -> None:
    """d/db of w |W x + b - target|^2 / D is 2 w (W x + b - target) / D at the timestep and prompt of each sample."""
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    batch = noised(policy, rollout)
    found = torch.autograd.grad(RWR(beta=0.7).loss(batch)[0], policy.parameters())
    weights = (0.7 * rollout.advantages).exp()
    weights = weights / weights.mean()
    x_t, t = batch.x_t.flatten(1), rollout.sampler.timesteps[batch.steps]
    prompt = torch.tensor([list(TARGETS).index(prompt) for prompt in rollout.prompts])
    output = torch.einsum("nij,nj->ni", policy.weight[t], x_t) + policy.bias[t, prompt]
    by_output = 2 * weights[:, None] * (output - batch.target.flatten(1)) / 2 / len(rollout)
    by_weight, by_bias = torch.zeros_like(policy.weight), torch.zeros_like(policy.bias)
    by_weight.index_add_(0, t, by_output[:, :, None] * x_t[:, None, :])
    by_bias.index_put_((t, prompt), by_output, accumulate=True)
    torch.testing.assert_close(found, (by_weight.detach(), by_bias.detach()))


def test_the_published_temperature_multiplies_the_reward_as_beta_does() -> None:
    """jannerm/ddpo's `temperature` is an inverse one: N softmax(temperature * r); a larger one is greedier."""
    rewards = torch.tensor([0.0, 1.0, 3.0])
    expected = torch.tensor([1.0, torch.e**0.2, torch.e**0.6])
    torch.testing.assert_close(weights_of(rewards, 0.2), 3 * expected / expected.sum())
    assert weights_of(rewards, 2.0).max() > weights_of(rewards, 0.2).max()
    torch.testing.assert_close(weights_of(rewards, 0.0), torch.ones(3))


def test_sparse_weighting_learns_from_the_best_alone_and_asks_the_network_for_no_other() -> None:
    policy, algorithm = LinearPolicy(), RWR(weighting="sparse", best=0.25, passes=1)
    rollout = draw_rollout(policy)
    best = torch.cat(algorithm.together(rollout))
    assert sorted(best.tolist()) == sorted(rollout.rewards.argsort(descending=True)[:8].tolist())
    algorithm.start(policy, 0)
    sampled = rollout.network_passes.work
    algorithm.update(policy, rollout)
    assert rollout.network_passes.work == sampled + 3 * 8


def test_guidance_is_part_of_the_regression_as_it_is_of_sampling() -> None:
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    policy.guidance_scale, predict = 5.0, policy.predict

    def guided(x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        output = predict(x_t, timesteps, conditioning)
        return torch.cat([0.5 * output, output])  # unconditional, conditional

    expected = 0.5 * noised(policy, rollout).output * (1 + 5)
    policy.predict = guided  # type: ignore[method-assign]
    torch.testing.assert_close(noised(policy, rollout).output, expected)
