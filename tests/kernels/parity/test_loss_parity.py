"""PPO's loss of a step, from model output to gradient, against float64."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from cases import (
    CLIP,
    DEVICE,
    DTYPES,
    assert_near,
    assert_rounded,
    exact,
    gradient,
    make_step,
    make_stored,
    normal,
)
from ddpo_kernels import AffineStep, Backend, Statistics, ppo_loss, score
from torch import Tensor

CLIP_RANGE = 0.2
MANY = 130  # more samples than the loss handles at once


class Rollout(NamedTuple):
    """What a policy learns from: stored samples, log-probs under the old policy, advantages of both signs."""

    x_prev: Tensor
    log_prob_old: Tensor
    advantages: Tensor


def make_rollout(step: AffineStep) -> Rollout:
    """Log-ratios on both sides of the clip range, none within 1e-4 of its ends."""
    x_prev = make_stored(step)
    batch = len(x_prev)
    log_ratio = torch.tensor([0.3, -0.3, 0.05, -0.05, 1e-3, -0.6], device=DEVICE).repeat(batch // 6 + 1)[:batch]
    log_prob = score(exact(step), x_prev.double(), backend="torch").log_prob.detach()
    return Rollout(x_prev, (log_prob - log_ratio).float(), 3 * normal(batch, seed=3))


def loss_of(step: AffineStep, rollout: Rollout, backend: Backend) -> tuple[Tensor, Statistics]:
    """From model output to loss."""
    log_prob = score(step, rollout.x_prev, backend=backend).log_prob
    return ppo_loss(log_prob, rollout.log_prob_old, rollout.advantages, CLIP_RANGE, backend)


def exact_loss(step: AffineStep, rollout: Rollout) -> tuple[Tensor, Statistics]:
    return loss_of(step, Rollout(*(values.double() for values in rollout)), "torch")


@pytest.mark.parametrize("batch", [1, 3, MANY])
def test_the_loss_of_a_step_is_that_of_float64(batch: int) -> None:
    step = make_step((3, 5, 7), batch, guided=True)
    rollout, other = make_rollout(step), exact(step)
    (found, statistics), (expected, exact_statistics) = loss_of(step, rollout, "triton"), exact_loss(other, rollout)
    assert_near(found, expected, absolute=1e-5, relative=1e-6)
    assert_near(torch.stack(statistics), torch.stack(exact_statistics), absolute=1e-6, relative=1e-5)
    assert_rounded(gradient(found, step), gradient(expected, other), 3e-6)


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("clip", [None, CLIP])
def test_the_gradient_of_the_loss_is_that_of_float64_at_every_precision(dtypes: str, clip: float | None) -> None:
    """Scaled up, so that 16-bit gradients do not underflow."""
    step = make_step((3, 17, 19), dtypes=DTYPES[dtypes], guided=True, clip=clip)
    rollout, other = make_rollout(step), exact(step)
    found, expected = loss_of(step, rollout, "triton")[0], exact_loss(other, rollout)[0]
    assert_rounded(gradient(1000 * found, step), gradient(1000 * expected, other), 3e-6)


@pytest.mark.parametrize("log_ratio", [0.3, -0.3, 0.1])
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_a_clipped_transition_has_no_gradient(log_ratio: float, advantage: float) -> None:
    """The ratio may not profit from leaving [0.8, 1.2], and may always come back (Schulman et al. 2017, fig. 1)."""
    log_prob = torch.tensor([log_ratio], device=DEVICE, requires_grad=True)
    zero = torch.zeros(1, device=DEVICE)
    loss, statistics = ppo_loss(log_prob, zero, zero + advantage, CLIP_RANGE, backend="triton")
    moved = bool(torch.autograd.grad(loss, log_prob)[0])
    assert moved == (abs(log_ratio) < 0.15 or (log_ratio > 0) != (advantage > 0))
    assert statistics.clip_fraction == (abs(log_ratio) > 0.15)


@pytest.mark.parametrize("size", [0.2, 0.1, 0.099, 0.05, *(10.0**-power for power in range(2, 9))])
def test_the_estimator_k3_does_not_cancel(size: float) -> None:
    """exp(d) - 1 - d in fp32, where the plain formula loses every digit; on both sides of where the series ends."""
    for d in (torch.tensor([size], device=DEVICE), torch.tensor([-size], device=DEVICE)):
        zero = torch.zeros_like(d)
        found = ppo_loss(d, zero, zero, CLIP_RANGE, backend="triton")[1].kl_k3
        expected = sum(d.double().item() ** n / math.factorial(n) for n in range(2, 14))
        assert abs(found.item() / expected - 1) < 1e-5


def test_clip_range_zero_clips_every_ratio_that_would_profit() -> None:
    log_prob = torch.tensor([0.1, -0.1], device=DEVICE, requires_grad=True)
    given = log_prob, torch.zeros_like(log_prob), torch.ones_like(log_prob), 0.0
    losses = [ppo_loss(*given, backend=name)[0] for name in ("triton", "torch")]
    assert_near(*losses, relative=1e-6)
    assert_near(*(torch.autograd.grad(loss, log_prob)[0] for loss in losses), relative=1e-6)
