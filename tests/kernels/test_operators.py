"""The operators as torch sees them, with the torch reference behind: schemas, fake tensors, compilation, autocast."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from affine_steps import (
    BATCH,
    CLIP,
    REFERENCES,
    SHAPE,
    TARGETS,
    inputs,
    make_reference,
    make_step,
    make_target,
    normal,
    objective,
)
from ddpo_kernels import (
    AffineStep,
    Backend,
    affine,
    ops,
    ppo_loss,
    sample,
    score,
)
from ddpo_kernels.affine import arguments
from ddpo_kernels.backend import INTERPRETING
from torch import Tensor


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public functions go through the operators, as on a GPU."""
    assert not INTERPRETING
    monkeypatch.setattr(affine, "fused", lambda backend, *_: backend != "torch")


@pytest.mark.parametrize(
    ("target", "reference", "clip", "guided"),
    [
        *itertools.product(TARGETS, REFERENCES, (CLIP,), (True,)),
        *itertools.product(("x_prev",), ("output",), (None, CLIP), (False,)),
    ],
)
def test_the_operator_of_a_step_is_sound(target: str, reference: str, clip: float | None, guided: bool) -> None:
    torch.library.opcheck(ops.step, inputs(make_step(guided, clip), target, reference, target != "none"))


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("guided", [False, True])
def test_the_operator_of_the_gradient_is_sound(guided: bool, reference: str) -> None:
    step = make_step(guided, CLIP, torch.bfloat16)
    step = replace(step, model_output=step.model_output.detach())
    weights, by_x_prev = normal(BATCH, seed=4), normal(BATCH, *SHAPE, seed=5)
    for by_log_prob, by_kl, drawn in ((weights, weights, by_x_prev), (None,) * 3):
        given = make_target(step, "x_prev"), make_reference(step, reference), reference
        torch.library.opcheck(ops.step_backward, (*arguments(step), *given, by_log_prob, by_kl, drawn))


def test_the_operator_of_ppos_loss_is_sound() -> None:
    log_prob, old, advantages = (normal(BATCH, seed=seed) for seed in range(3))
    torch.library.opcheck(ops.ppo_loss, (log_prob.requires_grad_(), old, advantages, 0.2))


def test_the_operator_of_noise_is_sound() -> None:
    torch.library.opcheck(ops.normal, (-5, torch.arange(BATCH), torch.arange(BATCH), list(SHAPE)))


def test_the_operators_are_sound_on_channels_last_inputs() -> None:
    """A model in channels-last hands over such outputs: the strides of the results are those that were announced."""
    step, last = make_step(), torch.channels_last
    output = step.model_output.detach().to(memory_format=last).requires_grad_()
    step = replace(step, model_output=output, x_t=step.x_t.to(memory_format=last))
    torch.library.opcheck(ops.step, inputs(step, "noise", "output"))
    step = replace(step, model_output=output.detach())
    given = make_target(step, "x_prev"), None, "none", normal(BATCH, seed=4), None, None
    torch.library.opcheck(ops.step_backward, (*arguments(step), *given))


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_statistics_are_not_differentiated(backend: Backend) -> None:
    """They are what the loss saw; the gradient that the operators keep is the loss's own."""
    log_prob, old, advantages = (normal(BATCH, seed=seed) for seed in (8, 6, 7))
    loss, statistics = ppo_loss(log_prob.requires_grad_(), old, advantages, 0.2, backend)
    assert loss.requires_grad
    assert not any(statistic.requires_grad for statistic in statistics)


def learn(step: AffineStep, noise: Tensor, old: Tensor, advantages: Tensor) -> tuple[Tensor, ...]:
    """Draw, score and learn: everything that a policy asks of a step."""
    drawn = sample(step, noise, with_mean=True)
    x_prev, mean = drawn.x_prev.detach(), drawn.mean.detach()
    scored = score(step, x_prev, mean + 1)
    loss, statistics = ppo_loss(scored.log_prob, old, advantages, 0.2)
    return *drawn, scored.log_prob, scored.kl, loss, *statistics


def run(function: Any, step: AffineStep, dtype: torch.dtype) -> list[Tensor]:
    """All values of `learn`, and the gradient of all of them together."""
    noise = normal(BATCH, *SHAPE, seed=2, dtype=dtype)
    given = replace(step, model_output=step.model_output.detach().clone().requires_grad_())
    values = function(given, noise, normal(BATCH, seed=6), normal(BATCH, seed=7))
    objective(value.float() for value in values).backward()
    return [*(value.detach() for value in values), given.model_output.grad]


@pytest.mark.parametrize("through", ["operators", "reference"])
def test_compiled_functions_give_the_eager_values(through: str, request: pytest.FixtureRequest) -> None:
    """Without a break in the graph, forward and backward."""
    if through == "operators":
        request.getfixturevalue("operators")
    step = make_step(clip=CLIP)
    torch.compiler.reset()
    compiled = torch.compile(learn, fullgraph=True, backend="aot_eager")
    for found, expected in zip(run(compiled, step, torch.float32), run(learn, step, torch.float32), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("through", ["operators", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(dtype: torch.dtype, through: str, request: pytest.FixtureRequest) -> None:
    """Log-probs in 16 bits would put every ratio outside its clip range."""
    if through == "operators":
        request.getfixturevalue("operators")
    step = make_step(dtype=dtype)
    expected = run(learn, step, dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(learn, step, dtype)
    assert all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(found, expected, strict=True))


@pytest.mark.usefixtures("operators")
def test_a_second_derivative_through_the_operators_says_that_there_is_none() -> None:
    step = make_step()
    log_prob = score(step, make_target(step, "x_prev")).log_prob.sum()
    first = torch.autograd.grad(log_prob, step.model_output, create_graph=True)[0]
    with pytest.raises(RuntimeError, match=r"backward through ddpo_kernels[.:]+step_backward.* no autograd formula"):
        first.square().sum().backward()
