"""DPOK's value baseline and its two ways to clip."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithm_bases.transitions import transitions
from ddpo_bench.algorithms.dpok import DPOK
from ddpo_bench.protocols import Rollout
from ddpo_bench.quantity import MEAN_UNITS, Quantity

CLIP, VALUE = 0.1, 0.3


def started(rollout: Rollout, policy: LinearPolicy, clip: Literal["max", "clamp"]) -> DPOK:
    """With a value of `VALUE` everywhere."""
    algorithm = DPOK(clip=clip, clip_range=Quantity(CLIP, MEAN_UNITS), kl_weight=0)
    algorithm.start(policy, seed=0)
    algorithm.make_value(rollout.conditioning.pooled.shape[-1], policy.device)
    with torch.no_grad():
        for parameter in algorithm.value.parameters():
            parameter.zero_()
        algorithm.value.head[-1].bias += VALUE  # type: ignore[operator]
    return algorithm


@pytest.mark.parametrize("clip", ["max", "clamp"])
def test_the_published_clamp_has_no_gradient_on_the_way_back_either(clip: Literal["max", "clamp"]) -> None:
    """Per transition: the slope of the loss by the log-prob, from the two formulas."""
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    samples = torch.arange(len(rollout))
    batch = transitions(policy, rollout, samples, samples % rollout.steps)
    loss, _ = started(rollout, policy, clip).surrogate(batch)
    (found,) = torch.autograd.grad(loss, [batch.log_prob])
    advantages, ratio = batch.advantages - VALUE, batch.ratio.detach()
    outside, outward = (ratio - 1).abs() > CLIP, advantages * (ratio - 1) > 0
    stopped = outside & outward if clip == "max" else outside
    assert (outside & ~outward).any()
    expected = torch.where(stopped, 0.0, -advantages * ratio) / len(batch.samples)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_value_network_learns_which_advantages_to_expect() -> None:
    """Of two prompts, one of which always has the advantage 1 and the other -1."""
    policy, algorithm = LinearPolicy(), DPOK(value_updates=60, value_learning_rate=0.01)
    rollout = draw_rollout(policy)
    rollout.advantages = torch.tensor([1.0 if prompt == "left" else -1.0 for prompt in rollout.prompts])
    algorithm.start(policy, seed=0)
    algorithm.make_value(rollout.conditioning.pooled.shape[-1], policy.device)
    algorithm.fit(rollout, Averages())
    samples = torch.arange(len(rollout))
    steps = samples % rollout.steps
    with torch.no_grad():
        values = algorithm.values(rollout, rollout.states(samples, steps), samples, steps)
    assert (values - rollout.advantages).square().mean() < 0.1


def test_the_policy_learns_before_the_value_network_sees_its_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline that knows a sample's own reward would take the signal away."""
    order: list[str] = []
    for name in ("surrogate", "fit"):
        method = getattr(DPOK, name)
        monkeypatch.setattr(DPOK, name, lambda *given, name=name, method=method: order.append(name) or method(*given))
    policy, algorithm = LinearPolicy(), DPOK(value_updates=1)
    algorithm.start(policy, seed=0)
    algorithm.update(policy, draw_rollout(policy))
    assert order.index("fit") == len(order) - 1 > 0
