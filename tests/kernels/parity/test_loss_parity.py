"""The policy loss of a step: one pass against its parts, and against float64."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from cases import (
    CLIP,
    DEVICE,
    DTYPES,
    REFERENCES,
    assert_near,
    assert_rounded,
    exact,
    gradient,
    make_reference,
    make_step,
    make_stored,
    normal,
)
from ddpo_kernels import STATISTICS, AffineStep, PolicyLoss, policy_loss, score, step_loss
from torch import Tensor

SETTINGS = {"plain": (None, 0.0), "clip": (0.2, 0.0), "kl": (None, 0.7), "clip and kl": (0.2, 0.7)}
MANY = 130  # more samples than the loss handles at once
STEP_CASES = [
    *itertools.product((1, 3), SETTINGS, REFERENCES),
    (MANY, "clip and kl", "output"),
]


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


def exact_loss(
    step: AffineStep, rollout: Rollout, clip_range: float | None, kl_weight: float, reference: Tensor | None, kind: str
) -> PolicyLoss:
    wide = [values.double() for values in rollout]
    other = None if reference is None else reference.double()
    return step_loss(step, *wide, clip_range, kl_weight, other, kind, backend="torch")


@pytest.mark.parametrize(("batch", "setting", "reference"), STEP_CASES)
def test_the_loss_of_a_step_is_that_of_float64(batch: int, setting: str, reference: str) -> None:
    step = make_step((3, 5, 7), batch, guided=True)
    rollout, given = make_rollout(step), make_reference(step, reference)
    kind = "output" if reference == "output" else "mean"
    found = step_loss(step, *rollout, *SETTINGS[setting], given, kind, backend="triton")
    other = exact(step)
    expected = exact_loss(other, rollout, *SETTINGS[setting], given, kind)
    assert_near(found.loss, expected.loss, absolute=1e-5, relative=1e-6)
    assert_near(found.statistics, expected.statistics, absolute=1e-6, relative=1e-5)
    assert_rounded(gradient(found.loss, step), gradient(expected.loss, other), 3e-6)


@pytest.mark.parametrize(("batch", "setting"), [*itertools.product((1, 3), SETTINGS), (MANY, "clip and kl")])
def test_the_loss_of_a_step_is_the_policy_loss_of_its_scores(batch: int, setting: str) -> None:
    """One pass or its parts: same bits of the loss and its statistics, same gradients up to rounding."""
    step = make_step((3, 5, 7), batch, guided=True)
    x_prev, log_prob_old, advantages = make_rollout(step)
    clip_range, kl_weight = SETTINGS[setting]
    given = make_reference(step, "output")
    whole = step_loss(step, x_prev, log_prob_old, advantages, clip_range, kl_weight, given, "output", backend="triton")
    parts = score(step, x_prev, given, "output", backend="triton")
    found = policy_loss(parts.log_prob, log_prob_old, advantages, clip_range, kl_weight, parts.kl, backend="triton")
    assert torch.equal(whole.loss, found.loss)
    assert torch.equal(whole.statistics, found.statistics)
    assert_rounded(gradient(whole.loss, step), gradient(found.loss, step).double(), 1e-6)


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("clip", [None, CLIP])
def test_the_gradient_of_the_loss_is_that_of_float64_at_every_precision(dtypes: str, clip: float | None) -> None:
    """Scaled up, so that 16-bit gradients do not underflow."""
    step = make_step((3, 17, 19), dtypes=DTYPES[dtypes], guided=True, clip=clip)
    rollout, given = make_rollout(step), make_reference(step, "output")
    found = step_loss(step, *rollout, 0.2, 0.7, given, "output", backend="triton").loss
    other = exact(step)
    expected = exact_loss(other, rollout, 0.2, 0.7, given, "output").loss
    assert_rounded(gradient(1000 * found, step), gradient(1000 * expected, other), 3e-6)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_gradient_scales_with_what_comes_from_above(setting: str) -> None:
    step = make_step((3, 5, 7))
    rollout, given = make_rollout(step), make_reference(step, "mean")
    loss = step_loss(step, *rollout, *SETTINGS[setting], given, backend="triton").loss
    once = gradient(loss, step)
    loss = step_loss(step, *rollout, *SETTINGS[setting], given, backend="triton").loss
    assert once.abs().max() > 0
    assert_rounded(gradient(loss * -3, step), -3 * once.double(), 1e-6)


@pytest.mark.parametrize("log_ratio", [0.3, -0.3, 0.1])
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_a_clipped_transition_has_no_gradient(log_ratio: float, advantage: float) -> None:
    """The ratio may not profit from leaving [0.8, 1.2], and may always come back (Schulman et al. 2017, fig. 1)."""
    step = make_step((3, 5, 7), 1)
    x_prev = make_stored(step)
    log_prob = score(step, x_prev, backend="triton").log_prob.detach()
    advantages = torch.full_like(log_prob, advantage)
    found = step_loss(step, x_prev, log_prob - log_ratio, advantages, 0.2, backend="triton")
    moved = bool(gradient(found.loss, step).any())
    assert moved == (abs(log_ratio) < 0.15 or (log_ratio > 0) != (advantage > 0))
    assert found.statistics[STATISTICS.index("clip_fraction")] == (abs(log_ratio) > 0.15)


@pytest.mark.parametrize("size", [0.2, 0.1, 0.099, 0.05, *(10.0**-power for power in range(2, 9))])
def test_the_estimator_k3_does_not_cancel(size: float) -> None:
    """exp(d) - 1 - d in fp32, where the plain formula loses every digit; on both sides of where the series ends."""
    for d in (torch.tensor([size], device=DEVICE), torch.tensor([-size], device=DEVICE)):
        zero = torch.zeros_like(d)
        found = policy_loss(d, zero, zero, backend="triton").statistics[STATISTICS.index("kl_k3")]
        expected = sum(d.double().item() ** n / math.factorial(n) for n in range(2, 14))
        assert abs(found.item() / expected - 1) < 1e-5


def test_clip_range_zero_clips_every_ratio_that_would_profit() -> None:
    """0 is a range, None is none."""
    log_prob = torch.tensor([0.1, -0.1], device=DEVICE, requires_grad=True)
    for clip_range in (0.0, None):
        arguments = (torch.zeros_like(log_prob), torch.ones_like(log_prob), clip_range)
        found, expected = (policy_loss(log_prob, *arguments, backend=name) for name in ("triton", "torch"))
        assert_near(found.loss, expected.loss, relative=1e-6)
        by_found, by_expected = (torch.autograd.grad(value.loss, log_prob)[0] for value in (found, expected))
        assert_near(by_found, by_expected, relative=1e-6)
