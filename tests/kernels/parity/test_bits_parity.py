"""What is promised to the bit: sampling's log-prob is learning's, and a batch does not touch its samples."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from cases import CLIP, DTYPES, PREDICTIONS, gradient, make_reference, make_step, normal
from ddpo_kernels import AffineStep, sample, score
from torch import Tensor

SHAPES = [(1, 1, 1), (3, 17, 19), (4, 32, 32), (1, 1, 2053)]


CASES = [
    *itertools.product(PREDICTIONS[:1], DTYPES, (False, True), (None, CLIP), SHAPES[1:2]),
    *itertools.product(PREDICTIONS[1:], ("bf16",), (True,), (None, CLIP), SHAPES[1:2]),
    *itertools.product(("epsilon",), ("fp32", "bf16"), (True,), (None,), (SHAPES[0], *SHAPES[2:])),
]


def take(step: AffineStep, samples: list[int], guided: bool) -> AffineStep:
    """A batch of some of a step's samples, in that order."""
    batch = len(step.x_t)
    rows = samples + [b + batch for b in samples] if guided else samples
    output = step.model_output.detach()[rows].requires_grad_()
    return replace(step, model_output=output, x_t=step.x_t[samples], index=step.index[samples])


@pytest.mark.parametrize(("prediction", "dtypes", "guided", "clip", "shape"), CASES)
def test_log_prob_is_bitwise_the_same_in_sampling_and_learning(
    prediction: str, dtypes: str, guided: bool, clip: float | None, shape: tuple[int, ...]
) -> None:
    """With the mean asked for or not, and with a KL in the same pass or not."""
    step = make_step(shape, 2, prediction, DTYPES[dtypes], guided, clip)
    drawn = sample(step, normal(*step.x_t.shape, seed=6).to(step.x_t.dtype), with_mean=True, backend="triton")
    x_prev, log_prob = drawn.x_prev.detach(), drawn.log_prob.detach()
    without_mean = sample(step, normal(*step.x_t.shape, seed=6).to(step.x_t.dtype), backend="triton")
    assert torch.equal(without_mean.x_prev, x_prev)
    assert torch.equal(without_mean.log_prob, log_prob)
    for kind in ("none", "output"):
        reference = make_reference(step, kind)
        form = "output" if kind == "output" else "mean"
        assert torch.equal(score(step, x_prev, reference, form, backend="triton").log_prob, log_prob)


def test_the_kl_to_the_own_mean_is_exactly_zero() -> None:
    """The mean that sampling returns is the one that learning forms, to the bit: behind a fixed policy no KL shows."""
    for guided in (False, True):
        for clip in (None, CLIP):
            step = make_step(guided=guided, clip=clip)
            mean = sample(step, normal(*step.x_t.shape), with_mean=True, backend="triton").mean.detach()
            assert score(step, None, mean, backend="triton").kl.tolist() == [0.0] * 3
            own = step.model_output.detach()
            assert score(step, None, own, "output", backend="triton").kl.tolist() == [0.0] * 3


def everything(step: AffineStep, noise: Tensor) -> list[Tensor]:
    """All that a step gives a sample: drawn, scored, its KL and its gradient."""
    drawn = sample(step, noise, with_mean=True, backend="triton")
    scored = score(step, drawn.x_prev.detach(), noise.float(), backend="triton")
    by_output = gradient((scored.log_prob + scored.kl).sum(), step)
    gradients = by_output.chunk(2) if len(step.model_output) != len(step.x_t) else (by_output,)
    return [drawn.x_prev, drawn.mean, drawn.log_prob, scored.log_prob, scored.kl, *gradients]


@pytest.mark.parametrize(
    ("shape", "guided", "dtypes"),
    [
        *itertools.product(SHAPES[:1], (False, True), ("fp32",)),
        *itertools.product(SHAPES[1:], (True,), ("bf16",)),
    ],
)
def test_a_sample_is_bitwise_the_same_in_every_batch(shape: tuple[int, ...], guided: bool, dtypes: str) -> None:
    step = make_step(shape, 5, dtypes=DTYPES[dtypes], guided=guided)
    noise = normal(5, *shape, seed=6).to(step.x_t.dtype)
    whole = everything(step, noise)
    for samples in ([0], [4], [3, 1, 2]):
        found = everything(take(step, samples, guided), noise[samples])
        assert all(torch.equal(part, full[samples]) for part, full in zip(found, whole, strict=True))


def test_running_again_gives_the_same_bits() -> None:
    step = make_step((4, 32, 32), guided=True)
    noise = normal(3, 4, 32, 32, seed=6)
    pairs = zip(everything(step, noise), everything(step, noise), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
