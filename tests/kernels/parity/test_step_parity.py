"""The kernels of a step against float64 on the same inputs: every prediction type, dtype, reference and layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import (
    CLIP,
    DTYPES,
    REFERENCES,
    SIZES,
    STEP_CASES,
    assert_near,
    assert_rounded,
    exact,
    gradient,
    make_reference,
    make_step,
    make_stored,
    normal,
    widened,
)
from ddpo_kernels import AffineStep, StepResult, sample, score
from torch import Tensor

LATENTS = {"SD1.5": (4, 64, 64), "SDXL": (4, 128, 128)}


def weighted(result: StepResult) -> Tensor:
    """Log-prob and KL, weighted differently in each sample, at a scale that 16-bit gradients can hold."""
    batch = max(len(result.log_prob), len(result.kl))
    weights = torch.linspace(1.0, 2.0, batch, device=result.log_prob.device)
    return 1000 * sum((weights * values).sum() for values in (result.log_prob, -0.3 * result.kl) if len(values))


def assert_scored_as_exactly(
    step: AffineStep, other: AffineStep, x_prev: Tensor | None, kind: str, scale: float = 1.0
) -> None:
    """Log-prob, KL and the gradient of both."""
    reference = make_reference(step, kind)
    found = score(step, x_prev, reference, "output" if kind == "output" else "mean", backend="triton")
    expected = score(
        other, widened(x_prev), widened(reference), "output" if kind == "output" else "mean", backend="torch"
    )
    assert_near(found.log_prob, expected.log_prob, absolute=1e-6 * scale)
    assert_near(found.kl, expected.kl, relative=1e-5 * scale)
    assert_rounded(gradient(weighted(found), step), gradient(weighted(expected), other), 1e-6 * scale)


@pytest.mark.parametrize(("prediction", "dtypes", "guided", "reference", "shape"), STEP_CASES)
def test_scoring_is_that_of_float64(
    prediction: str, dtypes: str, guided: bool, reference: str, shape: tuple[int, ...]
) -> None:
    step = make_step(shape, kind=prediction, dtypes=DTYPES[dtypes], guided=guided)
    x_prev = make_stored(step)
    assert_scored_as_exactly(step, exact(step, prediction), x_prev, reference)


@pytest.mark.parametrize(("prediction", "dtypes", "guided", "reference", "shape"), STEP_CASES)
def test_sampling_is_that_of_float64_and_scores_what_it_stored(
    prediction: str, dtypes: str, guided: bool, reference: str, shape: tuple[int, ...]
) -> None:
    """The KL follows from a stored sample, as in learning; the log-prob is that of x_prev after rounding."""
    step = make_step(shape, kind=prediction, dtypes=DTYPES[dtypes], guided=guided)
    other = exact(step, prediction)
    noise = normal(*step.x_t.shape, seed=6).to(step.x_t.dtype)
    found = sample(step, noise, with_mean=True, backend="triton")
    expected = sample(other, noise.double(), with_mean=True, backend="torch")
    assert found.x_prev.dtype == step.x_t.dtype
    assert found.mean.dtype == torch.float32
    assert_rounded(found.x_prev, expected.x_prev)
    assert_rounded(found.mean, expected.mean)
    scored = score(other, found.x_prev.detach().double(), backend="torch")
    assert_near(found.log_prob, scored.log_prob, absolute=1e-6)
    assert_rounded(gradient(weighted(found), step), gradient(weighted(scored), other))
    assert_scored_as_exactly(step, other, found.x_prev.detach(), reference)


@pytest.mark.parametrize("reference", ["mean", "output"])
def test_a_kl_without_a_sample_is_that_of_float64(reference: str) -> None:
    step = make_step(guided=True)
    assert_scored_as_exactly(step, exact(step), None, reference)


@pytest.mark.parametrize(
    ("prediction", "dtypes", "guided", "reference"),
    [case[:-1] for case in STEP_CASES if case[-1] == SIZES[1]],
)
def test_clipping_the_predicted_x0_is_that_of_float64(
    prediction: str, dtypes: str, guided: bool, reference: str
) -> None:
    """Elements inside and outside the range, and which of the two they are decides their gradient."""
    step = make_step(kind=prediction, dtypes=DTYPES[dtypes], guided=guided, clip=CLIP)
    other = exact(step, prediction)
    noise = normal(*step.x_t.shape, seed=6).to(step.x_t.dtype)
    drawn = sample(step, noise, with_mean=True, backend="triton")
    assert_rounded(drawn.mean, sample(other, noise.double(), with_mean=True, backend="torch").mean)
    assert_scored_as_exactly(step, other, drawn.x_prev.detach(), reference)


def test_clipping_exactly_at_the_bound_lets_the_gradient_through() -> None:
    """As torch.clamp does: x0 is the model output itself for "sample", so the bound can be hit exactly."""
    step = make_step(kind="sample", clip=0.5)
    edges = torch.tensor([0.5, -0.5, 0.5000001, -0.5000001], device=step.x_t.device).repeat(3 * 969 // 4 + 1)
    output = edges[: step.x_t.numel()].view_as(step.x_t).clone().requires_grad_()
    step = replace(step, model_output=output)
    assert_scored_as_exactly(step, exact(step, "sample"), make_stored(step), "none")


@pytest.mark.parametrize("dtypes", ["fp32", "bf16"])
@pytest.mark.parametrize(("size", "batch"), [("SD1.5", 2), ("SDXL", 1)])
def test_the_sizes_of_stable_diffusion_are_those_of_float64(size: str, batch: int, dtypes: str) -> None:
    """Several tiles a sample, and vector accesses."""
    step = make_step(LATENTS[size], batch, dtypes=DTYPES[dtypes], guided=True)
    x_prev = make_stored(step)
    assert_scored_as_exactly(step, exact(step), x_prev, "output")


@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 5, 7), (1, 1, 2053)])
def test_latents_may_be_views_of_a_stored_trajectory(shape: tuple[int, ...]) -> None:
    """x_t = latents[:, k], x_prev = latents[:, k + 1] of [B, T + 1, C, H, W]."""
    step = make_step(shape)
    latents = normal(3, 4, *shape, seed=7)
    for k in (2, 1, 0):
        step = replace(step, x_t=latents[:, k])
        latents[:, k + 1] = make_stored(step)
        assert_scored_as_exactly(step, exact(step), latents[:, k + 1], "mean")


def test_indices_may_be_views_of_a_stored_trajectory() -> None:
    """index = order[:, k], the k-th of each sample's own order of timesteps, and one step for the whole batch."""
    step = make_step()
    order = torch.tensor([[0, 1], [2, 0], [1, 2]], device=step.index.device)
    for index in (order[:, 0], order[:, 1], order[:, 0].int().contiguous(), order[1, :1].expand(3)):
        step = replace(step, index=index)
        assert_scored_as_exactly(step, exact(step), make_stored(step), "none")


@pytest.mark.parametrize("reference", REFERENCES)
def test_model_outputs_may_be_halves_of_a_chunk(reference: str) -> None:
    step = make_step()
    whole = normal(6, *step.x_t.shape[1:], seed=8)
    for half in whole.chunk(2):
        other = replace(step, model_output=half.detach().requires_grad_())
        assert_scored_as_exactly(other, exact(other), make_stored(other), reference)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 17, 19)])
def test_layouts_of_a_model_do_not_matter(shape: tuple[int, ...], guided: bool) -> None:
    """Channels-last outputs, channels cut from a model that also predicts a variance, and data off their alignment."""
    step = make_step(shape, guided=guided)
    x_prev, expected = make_stored(step), None
    output = step.model_output.detach()
    wider = torch.cat([output, output], dim=1)[:, : shape[0]]
    shifted = torch.cat([output.flatten(), output.new_zeros(3)])
    shifted = torch.cat([shifted[-3:], shifted[:-3]])[3:].view_as(output)
    for layout in (output, output.to(memory_format=torch.channels_last), wider, shifted):
        assert torch.equal(layout, output)
        other = replace(step, model_output=layout.detach().requires_grad_())
        assert_scored_as_exactly(other, exact(other), x_prev, "output")
        found = score(other, x_prev, backend="triton")
        values = found.log_prob, gradient(found.log_prob.sum(), other)
        expected = values if expected is None else expected
        assert all(torch.equal(*pair) for pair in zip(values, expected, strict=True))
