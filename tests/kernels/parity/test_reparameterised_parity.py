"""The gradient of a drawn sample: x_prev = mean + sigma * noise, and the mean itself, alone and with the log-prob."""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import CLIP, DTYPES, assert_rounded, exact, gradient, make_step, normal
from ddpo_kernels import AffineStep, StepResult, sample
from torch import Tensor

CASES = [
    *itertools.product(DTYPES, (False, True), (None, CLIP), [(3, 17, 19)], ("both",)),
    *itertools.product(("fp32", "bf16"), (True,), (None, CLIP), [(3, 17, 19)], ("x_prev", "mean")),
    ("fp32", True, CLIP, (1, 1, 1), "both"),
]


def objective(result: StepResult, of: str, weights: Tensor) -> Tensor:
    """A weighted sum of x_prev, of the mean, of both, or of x_prev and the log-prob."""
    weights = weights.to(result.log_prob.dtype)
    drawn = (weights * result.x_prev.to(weights.dtype)).sum()
    formed = (weights.flip(0) * result.mean).sum()
    scored = 1000 * (result.log_prob * torch.linspace(1.0, 2.0, len(weights), device=weights.device)).sum()
    return {"x_prev": drawn, "mean": formed, "both": drawn + formed, "x_prev and log-prob": drawn + scored}[of]


def both(step: AffineStep, of: str) -> tuple[Tensor, Tensor]:
    """The kernel's gradient and float64's, of an x_prev that is stored in the step's dtype."""
    noise = normal(*step.x_t.shape, seed=6).to(step.x_t.dtype)
    weights = normal(*step.x_t.shape, seed=7).to(step.x_t.dtype).float()
    found = sample(step, noise, with_mean=True, backend="triton")
    other = exact(step)
    expected = sample(other, noise.double(), with_mean=True, backend="torch")
    return gradient(objective(found, of, weights), step), gradient(objective(expected, of, weights), other)


@pytest.mark.parametrize(("dtypes", "guided", "clip", "shape", "of"), CASES)
def test_the_gradient_of_a_sample_is_that_of_float64(
    dtypes: str, guided: bool, clip: float | None, shape: tuple[int, ...], of: str
) -> None:
    found, expected = both(make_step(shape, dtypes=DTYPES[dtypes], guided=guided, clip=clip), of)
    # sixteen-bit gradients of x_prev and of the mean are added before the kernel rounds
    assert found.dtype == DTYPES[dtypes].output
    assert_rounded(found, expected)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("clip", [None, CLIP])
def test_the_gradient_of_a_sample_and_of_its_log_prob_add_up(guided: bool, clip: float | None) -> None:
    """The log-prob is that of the sample as an action already taken: it does not differentiate x_prev."""
    assert_rounded(*both(make_step(guided=guided, clip=clip), "x_prev and log-prob"))


def test_a_gradient_that_is_expanded_or_strided_is_read_as_it_is() -> None:
    """`x_prev.sum()` hands back one number, expanded; `x_prev.mT` hands back a transposed view."""
    step = make_step()
    noise, weights = normal(*step.x_t.shape, seed=6), normal(3, 3, 19, 17, seed=7)
    for read in (lambda x: x.sum(), lambda x: (x.mT * weights).sum(), lambda x: x.flatten(1).sum(1)[1]):
        found = gradient(read(sample(step, noise, backend="triton").x_prev), step)
        expected = gradient(read(sample(step, noise, backend="torch").x_prev), step)
        assert_rounded(found, expected.double())
