"""Group-relative policy optimisation, and what published implementations of it got wrong."""

from __future__ import annotations

import pytest
import torch
from constant_sde import ConstantSDE
from toy import LinearPolicy, draw_rollout

from ddpo_bench.advantages.group import Group
from ddpo_bench.algorithm_bases.transitions import transitions
from ddpo_bench.algorithms.grpo import GRPO
from ddpo_bench.config import ConfigError, run_config
from ddpo_bench.protocols import Rollout
from ddpo_bench.registry import get


def group_rollout(policy: LinearPolicy, flat: bool = False) -> Rollout:
    """A rollout of two groups, in the first of which all rewards are equal; in both, if it is flat."""
    rollout = draw_rollout(policy)
    for prompt in ("left", "right") if flat else ("left",):
        rollout.rewards[[n for n, own in enumerate(rollout.prompts) if own == prompt]] = 0.1
    rollout.advantages = Group().update(rollout.prompts, rollout.rewards)
    return rollout


def test_samples_of_a_group_without_spread_are_not_learned_from() -> None:
    """Nor do they cost a pass, or hold the policy at the pretrained one."""
    policy, algorithm = LinearPolicy(), GRPO(kl_weight=1.0)
    rollout = group_rollout(policy)
    algorithm.start(policy, seed=0)
    sampled = rollout.network_passes.work
    algorithm.update(policy, rollout)
    taught = rollout.prompts.count("right")
    assert rollout.network_passes.work - sampled == (3 + 1) * taught * rollout.steps
    assert not (policy.bias - policy.pretrained[1])[:, 0].any()  # of the prompt "left"
    assert (policy.bias - policy.pretrained[1])[:, 1].any()


def test_an_epoch_without_any_spread_changes_nothing() -> None:
    policy, algorithm = LinearPolicy(), GRPO()
    algorithm.start(policy, seed=0)
    row = algorithm.update(policy, group_rollout(policy, flat=True))
    assert "loss" not in row
    assert all(map(torch.equal, policy.parameters(), policy.pretrained))


def test_the_kl_is_exact_and_flow_grpos_is_the_exact_one_times_dt() -> None:
    """Flow-GRPO divides by g instead of std = g sqrt(-dt) (its issues 22 and 78): beta x |dt| is the weight of ours."""
    sampler = ConstantSDE(steps=5, noise=0.3)
    policy = get("policy", "pooled")()
    sampler.start(policy.scheduler_config, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x_t, ours, reference = torch.randn(3, 5, *policy.latent_shape, generator=generator)
    steps = torch.arange(5)
    law, other = (sampler.law(output, x_t, steps, 1.0) for output in (ours, reference))
    square = (law.mean - other.mean).double().square().mean(dim=(1, 2, 3))
    dt = -torch.ones(5, dtype=torch.float64) / 5
    torch.testing.assert_close(law.kl(other).double(), square / (2 * 0.3**2 * -dt), rtol=1e-5, atol=0.0)
    published = square / (2 * 0.3**2)
    torch.testing.assert_close(law.kl(other).double() * -dt, published, rtol=1e-5, atol=0.0)


def test_the_kl_has_a_gradient() -> None:
    """Flow-Factory computed it without one (its issue 122)."""
    policy, algorithm = LinearPolicy(), GRPO(kl_weight=1.0)
    rollout = draw_rollout(policy)
    rollout.advantages.zero_()
    algorithm.start(policy, seed=0)
    with torch.no_grad():
        policy.bias += 0.3
    samples = torch.arange(4)
    loss, metrics = algorithm.loss(transitions(policy, rollout, samples, samples))
    (gradient,) = torch.autograd.grad(loss, [policy.bias])
    assert metrics["kl_penalty"] > 0
    assert (gradient[:, :] >= 0).all()
    assert gradient.max() > 0.01


def test_without_a_kl_the_pretrained_policy_is_not_asked() -> None:
    policy, algorithm = LinearPolicy(), GRPO(kl_weight=0)
    rollout = draw_rollout(policy)
    algorithm.start(policy, seed=0)
    sampled = rollout.network_passes.work
    assert "kl_penalty" not in algorithm.update(policy, rollout)
    assert rollout.network_passes.work == (1 + 3) * sampled


@pytest.mark.parametrize("name", ["per_prompt", "batch", "win_rate"])
def test_advantages_that_are_not_relative_to_a_group_are_refused_in_one_line(name: str) -> None:
    line = f"^test: advantages: grpo compares the samples of a prompt with each other, and {name} does not. Set adv"
    with pytest.raises(ConfigError, match=line):
        run_config({"algorithm": "grpo", "advantages": name, "samples_per_prompt": 8}, "test")
    run_config({"algorithm": "grpo", "advantages": "group", "samples_per_prompt": 8}, "test")
