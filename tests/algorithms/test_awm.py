"""Advantage-weighted matching: its gradient, its weightings, and what holds it where published runs collapsed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_rwr import noised
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithms.awm import AWM, weighted
from ddpo_bench.protocols import Rollout

pytestmark = pytest.mark.usefixtures("float64")


def moved_policy() -> tuple[LinearPolicy, Rollout]:
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    policy.keep("ema")
    with torch.no_grad():
        policy.bias += 0.2
    policy.blend("ema", 0.5)
    with torch.no_grad():
        policy.weight += 0.1
    return policy, rollout


@pytest.mark.parametrize("weighting", ["none", "t", "t2", "huber", "ghuber"])
def test_the_gradient_is_that_of_finite_differences_both_distances_included(weighting: Any) -> None:
    """Flow-Factory computed its KL without a gradient (its issue 122)."""
    policy, rollout = moved_policy()
    algorithm = AWM(weighting=weighting, beta=0.3, ema_beta=0.7)
    for parameter in policy.parameters():
        (found,) = torch.autograd.grad(algorithm.loss(noised(policy, rollout))[0], parameter)
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        ends = []
        for side in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += side * direction
                ends.append(algorithm.loss(noised(policy, rollout))[0].item())
                parameter -= side * direction
        assert (found * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_the_weightings_are_the_published_ones() -> None:
    error, t = torch.tensor([0.0, 0.25, 4.0]), torch.tensor([0.5, 0.5, 1.0])
    expected = {"none": [0, 0.25, 4], "t": [0, 0.125, 4], "t2": [0, 0.0625, 4], "huber": [0, 0.25, 2]}
    for name, values in expected.items():
        torch.testing.assert_close(weighted(error, t, name, 0.25), torch.tensor(values).double(), atol=2e-5, rtol=0)
    small = 1e-10**0.25
    found = weighted(error, t, "ghuber", 0.25)
    torch.testing.assert_close(found, 4 * t * ((error + 1e-10) ** 0.25 - small))


def test_a_sample_that_was_denoised_exactly_has_a_finite_gradient() -> None:
    """Roots have none at 0, hence the published 1e-10."""
    for name in ("huber", "ghuber"):
        error = torch.zeros(1, requires_grad=True)
        weighted(error, torch.ones(1), name, 0.25).backward()  # type: ignore[arg-type]
        assert error.grad is not None
        assert error.grad.isfinite()


def test_advantages_are_clipped_and_at_most_one() -> None:
    policy, rollout = moved_policy()
    losses = []
    for scale in (5.0, 50.0):
        rollout.advantages = torch.full((len(rollout),), scale)
        batch = noised(policy, rollout)
        loss, metrics = AWM(beta=0.0, ema_beta=0.0).loss(batch)
        torch.testing.assert_close(loss, -metrics["awm/log_prob"])
        losses.append(loss.item())
    assert losses[0] == losses[1]


def test_a_larger_ema_beta_holds_a_policy_that_would_run_away() -> None:
    """AWM's issue 6: runs collapse after some hundred steps, and a larger ema_beta holds them."""
    moved = []
    for ema_beta in (0.0, 30.0):
        policy = LinearPolicy()
        algorithm = AWM(weighting="none", beta=0.0, ema_beta=ema_beta, learning_rate=0.05)
        algorithm.start(policy, 0)
        for epoch in range(4):
            algorithm.update(policy, draw_rollout(policy, epoch, algorithm=algorithm))
        moved.append(
            sum(
                float((p.detach() - q).square().sum())
                for p, q in zip(policy.parameters(), policy.pretrained, strict=True)
            )
        )
    assert moved[1] < moved[0] / 4


def test_the_average_moves_by_a_decay_that_grows_to_its_largest() -> None:
    policy, algorithm = LinearPolicy(), AWM(ema_decay=0.3, ema_decay_rate=0.2, learning_rate=0.01)
    algorithm.start(policy, 0)
    for epoch, decay in enumerate((0.0, 0.2, 0.3)):
        before = policy.copies.values["ema"][0].clone()
        algorithm.update(policy, draw_rollout(policy, epoch, algorithm=algorithm))
        expected = decay * before + (1 - decay) * policy.weight.detach()
        torch.testing.assert_close(policy.copies.values["ema"][0], expected)
