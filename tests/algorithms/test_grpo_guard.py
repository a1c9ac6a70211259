"""GRPO-Guard's normalised ratio and its weights, for flow matching and for DDIM, and what published code got wrong."""

from __future__ import annotations

import pytest
import torch
from constant_sde import ConstantSDE
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.transitions import Transitions, transitions
from ddpo_bench.algorithms.grpo_guard import GRPOGuard, flow_steps
from ddpo_bench.quantity import MEAN_UNITS, Quantity
from ddpo_bench.registry import get
from ddpo_bench.samplers.cps import CPS
from ddpo_bench.samplers.ddim import DDIM
from ddpo_bench.samplers.window import Window, of_epoch

WIDE = GRPOGuard(clip_range=Quantity(1e9, MEAN_UNITS))


def moved_batch() -> tuple[LinearPolicy, Transitions]:
    """All transitions of a rollout, under a policy that has moved since."""
    policy = LinearPolicy()
    rollout = draw_rollout(policy, samples=8)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    n, k = torch.cartesian_prod(torch.arange(8), torch.arange(rollout.steps)).unbind(1)
    return policy, transitions(policy, rollout, n, k)


@pytest.mark.usefixtures("float64")
def test_the_log_ratio_is_the_noise_times_the_move_of_the_mean_for_each_sample() -> None:
    """The published line takes the drift's mean over the whole batch (flow_grpo's issue 244)."""
    policy, batch = moved_batch()
    scale, duration = flow_steps(batch.rollout.sampler, batch.x_t)
    std = batch.law.std.view(-1, 1, 1, 1)
    z = (batch.x_prev - batch.mean_old) / std
    log_ratio = (z * (batch.law.mean - batch.mean_old)).flatten(1).mean(1) / scale[batch.steps]
    expected = (-batch.advantages * log_ratio.exp() / duration[batch.steps]).mean()
    WIDE.start(policy, seed=0)
    found, _ = WIDE.surrogate(batch)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(found, policy.parameters(), retain_graph=True),
        torch.autograd.grad(expected, policy.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_normalised_log_ratio_does_not_drift() -> None:
    """Over the noise of the behaviour policy its mean is 0, where that of the plain log-ratio is -KL."""
    std, move, generator = 0.3, 0.5, torch.Generator().manual_seed(0)
    z = torch.randn(200_000, generator=generator)
    plain = (z.square() - (z - move / std).square()) / 2
    assert plain.mean() == pytest.approx(-(move**2) / (2 * std**2), rel=0.02)
    guarded = std * (plain + move**2 / (2 * std**2))
    assert guarded.mean().abs() < 0.005
    assert guarded.std() == pytest.approx(move, rel=0.01)


def test_flow_matching_steps_are_as_long_as_dt() -> None:
    sampler, policy = ConstantSDE(steps=5), get("policy", "pooled")()
    sampler.start(policy.scheduler_config, torch.device("cpu"))
    scale, duration = flow_steps(sampler, torch.zeros(1, *policy.latent_shape))
    torch.testing.assert_close(scale, torch.ones(5))
    torch.testing.assert_close(duration, torch.full((5,), 0.2))


def test_ddim_is_flow_matching_in_other_coordinates() -> None:
    """x / (alpha + sigma) at s = sigma / (alpha + sigma), from the model's own alpha_bar."""
    sampler, policy = DDIM(steps=10), get("policy", "pooled_diffusion")()
    sampler.start(policy.scheduler_config, torch.device("cpu"))
    scale, duration = flow_steps(sampler, torch.zeros(1, *policy.latent_shape))
    betas = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64)
    a = (1 - betas).cumprod(0)[sampler.timesteps]
    total = a.sqrt() + (1 - a).sqrt()
    s = torch.cat([(1 - a).sqrt() / total, torch.zeros(1, dtype=torch.float64)])
    torch.testing.assert_close(duration.double(), s[:-1] - s[1:], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scale[:-1].double(), total[1:], rtol=1e-5, atol=0.0)
    assert scale[-1] == 1
    assert duration.min() > 0


def test_steps_of_a_window_are_as_long_as_in_the_whole_trajectory() -> None:
    """And where the last step has no noise, the one before ends where that one begins."""
    whole, some = CPS(steps=10), CPS(steps=10, window=Window(4, "progressive", 1))
    for sampler in (whole, some):
        sampler.start(get("policy", "pooled").scheduler_config, torch.device("cpu"))
    like = torch.zeros(1, *get("policy", "pooled").latent_shape)
    scale, duration = flow_steps(whole, like)
    for sampler, noisy in ((some, range(2, 6)), (whole, range(9))):
        _, part, steps = of_epoch(sampler, 0, 3)
        assert steps == noisy
        for found, expected in zip(flow_steps(part, like), (scale, duration), strict=True):
            assert torch.equal(found, expected[list(noisy)])
