"""The operators with the Triton kernels behind: schemas, announced shapes and strides, autograd, compilation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from cases import CLIP, DEVICE, REFERENCES, gradient, make_reference, make_step, make_stored, normal
from ddpo_kernels import AffineStep, ops, ppo_loss, sample, score
from ddpo_kernels.affine import arguments
from torch import Tensor

SHAPE = (3, 5, 7)


def make_target(step: AffineStep, kind: str) -> Tensor | None:
    return {"none": None, "x_prev": make_stored(step), "noise": normal(*step.x_t.shape, seed=6)}[kind]


def channels_last(step: AffineStep) -> AffineStep:
    output = step.model_output.detach().to(memory_format=torch.channels_last).requires_grad_()
    return replace(step, model_output=output, x_t=step.x_t.to(memory_format=torch.channels_last))


@pytest.mark.parametrize(
    ("target", "reference", "last"),
    [
        *itertools.product(("none", "x_prev"), REFERENCES, (False,)),
        ("noise", "none", False),
        *itertools.product(("noise",), ("mean", "output"), (True,)),
    ],
)
def test_the_operator_of_a_step_is_sound(target: str, reference: str, last: bool) -> None:
    step = make_step(SHAPE, guided=True)
    given = make_target(step, target), target, make_reference(step, reference), reference, target != "none"
    step = channels_last(step) if last else step
    torch.library.opcheck(ops.step, (*arguments(step), *given))


@pytest.mark.parametrize("last", [False, True])
def test_the_operator_of_the_gradient_is_sound(last: bool) -> None:
    step = make_step(SHAPE, guided=True, clip=CLIP)
    x_prev, reference, weights = make_stored(step), make_reference(step, "output"), normal(3, seed=4)
    step = channels_last(step) if last else step
    step = replace(step, model_output=step.model_output.detach())
    given = x_prev, reference, "output", weights, weights, normal(*step.x_t.shape, seed=6)
    torch.library.opcheck(ops.step_backward, (*arguments(step), *given))


def test_the_operator_of_ppos_loss_is_sound() -> None:
    log_prob, old, advantages = (normal(3, seed=seed) for seed in range(3))
    torch.library.opcheck(ops.ppo_loss, (log_prob.requires_grad_(), old, advantages, 0.2))


def test_the_operator_of_noise_is_sound() -> None:
    samples = torch.arange(3, device=DEVICE)
    torch.library.opcheck(ops.normal, (-5, samples, samples, list(SHAPE)))


def learn(step: AffineStep, noise: Tensor, old: Tensor, advantages: Tensor) -> tuple[Tensor, ...]:
    drawn = sample(step, noise, with_mean=True, backend="triton")
    x_prev, mean = drawn.x_prev.detach(), drawn.mean.detach()
    scored = score(step, x_prev, mean + 1, backend="triton")
    return *drawn[:3], *scored[2:], ppo_loss(scored.log_prob, old, advantages, 0.2, backend="triton")[0]


def test_compiled_functions_give_the_eager_bits() -> None:
    """Without a break in the graph, forward and backward."""
    step = make_step(SHAPE, guided=True)
    noise, old, advantages = normal(3, *SHAPE, seed=6), normal(3, seed=4), normal(3, seed=5)
    torch.compiler.reset()
    compiled = torch.compile(learn, fullgraph=True, backend="aot_eager")
    found, expected = (function(step, noise, old, advantages) for function in (compiled, learn))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    totals = (sum((k + 1) * value.sum() for k, value in enumerate(values)) for values in (found, expected))
    by_compiled, by_eager = (gradient(total, step) for total in totals)
    torch.testing.assert_close(by_compiled, by_eager, rtol=1e-6, atol=1e-6)
