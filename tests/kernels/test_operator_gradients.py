"""Backward passes written by hand: against autograd in float64 and against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from affine_steps import (
    CLIP,
    REFERENCES,
    TARGETS,
    inputs,
    make_reference,
    make_step,
    make_target,
    normal,
    objective,
)
from ddpo_kernels import (
    affine,
    ops,
    policy_loss,
    score,
    step_loss,
)
from ddpo_kernels.affine import arguments
from torch import Tensor


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("clip", [None, CLIP])
@pytest.mark.parametrize(("target", "reference"), list(itertools.product(TARGETS, REFERENCES)))
def test_the_gradient_of_a_step_by_hand_is_that_of_autograd(
    target: str, reference: str, clip: float | None, guided: bool
) -> None:
    """In float64, where both are exact: `ops.step` with its written backward, and the reference with torch's."""
    if (target, reference) == ("none", "none"):
        return
    step = make_step(guided, clip, torch.float64, wide=True)
    given = inputs(step, target, reference, target in ("noise", "seeds"))[6:]
    by_hand = objective(ops.step(*arguments(step), *given))
    by_autograd = objective(affine.reference_forward(step, *given))
    torch.testing.assert_close(by_hand, by_autograd, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(value, step.model_output)[0] for value in (by_hand, by_autograd))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("clip", [None, CLIP])
@pytest.mark.parametrize("reference", ["mean", "output"])
def test_gradients_are_those_of_finite_differences(reference: str, clip: float | None, guided: bool) -> None:
    """Of the reference and of the operator's written backward, second derivatives of the reference too."""
    step = make_step(guided, clip, torch.float64, wide=True)
    x_prev, other = make_target(step, "x_prev"), make_reference(step, reference)

    def through(operator: bool) -> Callable[[Tensor], Any]:
        def scored(output: Tensor) -> Any:
            given = replace(step, model_output=output)
            if operator:
                return ops.step(*arguments(given), x_prev, "x_prev", other, reference, False)[2:]
            return tuple(score(given, x_prev, other, reference, backend="torch")[2:])

        return scored

    assert torch.autograd.gradcheck(through(False), (step.model_output,))
    assert torch.autograd.gradcheck(through(True), (step.model_output,))
    assert torch.autograd.gradgradcheck(through(False), (step.model_output,))


@pytest.mark.parametrize(
    ("clip_range", "kl_weight", "reference"), list(itertools.product((None, 0.2), (0.0, 0.7), REFERENCES))
)
def test_the_gradient_of_a_steps_loss_by_hand_is_that_of_autograd(
    clip_range: float | None, kl_weight: float, reference: str
) -> None:
    step = make_step(dtype=torch.float64, wide=True)
    x_prev, other = make_target(step, "x_prev"), make_reference(step, reference)
    old = score(step, x_prev, backend="torch").log_prob.detach() - torch.tensor([0.4, -0.3, 0.05])
    advantages = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    given = x_prev, other, reference, old, advantages, clip_range, kl_weight
    loss, statistics = ops.step_loss(*arguments(step), *given)[:2]
    expected = step_loss(step, x_prev, old, advantages, clip_range, kl_weight, other, reference, backend="torch")
    torch.testing.assert_close(loss, expected.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(statistics, expected.statistics, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(3 * value, step.model_output)[0] for value in (loss, expected.loss))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_the_gradient_of_the_policy_loss_by_hand_is_that_of_autograd() -> None:
    for clip_range in (None, 0.2):
        values = [normal(64, seed=seed, dtype=torch.float64) for seed in range(4)]
        log_prob, kl = values[0].requires_grad_(), values[3].square().requires_grad_()
        loss = ops.policy_loss(log_prob, kl, values[1], values[2], clip_range, 0.7)[0]
        expected = policy_loss(log_prob, values[1], values[2], clip_range, 0.7, kl, backend="torch").loss
        found, wanted = (torch.autograd.grad(3 * value, [log_prob, kl]) for value in (loss, expected))
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)
