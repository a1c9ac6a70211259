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
    ppo_loss,
    score,
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
    given = inputs(step, target, reference, target == "noise")[6:]
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


def test_the_gradient_of_ppos_loss_by_hand_is_that_of_autograd() -> None:
    log_prob, old, advantages = (normal(64, seed=seed, dtype=torch.float64) for seed in range(3))
    given = log_prob.requires_grad_(), old, advantages, 0.2
    losses = ops.ppo_loss(*given)[0], ppo_loss(*given, backend="torch")[0]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(3 * loss, log_prob)[0] for loss in losses)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
