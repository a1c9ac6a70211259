"""The kernels over real schedules: against diffusers' own step, and against float64 from sigma = 0.6 down to 0.03."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import (
    DEVICE,
    DTYPES,
    PREDICTIONS,
    assert_near,
    assert_rounded,
    ddim_table,
    exact,
    gradient,
    make_step,
    make_stored,
    normal,
)
from ddpo_kernels import sample, score
from ddpo_kernels.table import COLUMNS
from diffusers import DDIMScheduler

STEPS = 50
SHAPE = (3, 5, 7)


def make_scheduler(prediction: str, **changes: object) -> DDIMScheduler:
    """Stable Diffusion's, in float64: diffusers' 1 - alpha_bar in fp32 is off by 1e-4 where alpha_bar is near 1."""
    settings = {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False} | changes
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, **settings
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    scheduler.set_timesteps(STEPS)
    return scheduler


def schedule_table(scheduler: DDIMScheduler, clip: bool = False) -> torch.Tensor:
    """[50, 8], float64, at eta = 1."""
    alphas, t = scheduler.alphas_cumprod.double(), scheduler.timesteps
    previous = (t - scheduler.config.num_train_timesteps // STEPS).clamp_min(0)
    return ddim_table(scheduler.config.prediction_type, alphas[t], alphas[previous], clip)


@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_step_is_that_of_diffusers_all_along_the_schedule(prediction: str, clip: float | None) -> None:
    """All of the schedule's steps as one batch, against one step after the other."""
    scheduler = make_scheduler(prediction, clip_sample=clip is not None, clip_sample_range=clip or 1.0)
    table = schedule_table(scheduler, clip is not None)
    step = make_step(SHAPE, STEPS, prediction, clip=clip, table=table)
    step = replace(step, index=torch.arange(STEPS, device=DEVICE))
    noise = normal(STEPS, *SHAPE, seed=6)
    found = sample(step, noise, backend="triton").x_prev.detach()
    for k, t in enumerate(scheduler.timesteps.tolist()):
        one = slice(k, k + 1)
        output, x_t, z = (values[one].double() for values in (step.model_output.detach(), step.x_t, noise))
        assert_rounded(found[one], scheduler.step(output, t, x_t, eta=1.0, variance_noise=z).prev_sample)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_whole_schedule_is_that_of_float64_within_its_conditioning(prediction: str, guided: bool) -> None:
    """z = (x_prev - mean) / sigma: rounding the terms of the mean in fp32 costs about eps * |terms| / sigma in z, so
    much relative to the gradient's largest, and so much times |z| in the log-prob, which averages it."""
    table = schedule_table(make_scheduler(prediction))
    step = make_step(SHAPE, STEPS, prediction, guided=guided, table=table)
    step = replace(step, index=torch.arange(STEPS, device=DEVICE))
    other, x_prev = exact(step, prediction, table), make_stored(step)
    found, expected = score(step, x_prev, backend="triton"), score(other, x_prev.double(), backend="torch")
    std = table[:, COLUMNS.index("std")].to(DEVICE)
    assert std.min() < 0.04
    terms = table[:, :2].abs().sum(1).to(DEVICE) * (4.0 if not guided else 12.0)  # |x_t| and |m| up to 4; 3 of guidance
    bound = 2 * torch.finfo(torch.float32).eps * terms / std
    z = (2 * (-expected.log_prob - std.log())).clamp_min(1).sqrt()
    assert ((found.log_prob - expected.log_prob).abs() <= bound * z + 1e-6).all()
    by_found, by_expected = gradient(found.log_prob.sum(), step), gradient(expected.log_prob.sum(), other)
    for k in range(STEPS):
        rows = [k, k + STEPS] if guided else [k]
        assert_rounded(by_found[rows], by_expected[rows], bound[k].item() + 1e-6)


@pytest.mark.parametrize("dtypes", DTYPES)
def test_a_step_is_that_of_diffusers_at_every_precision(dtypes: str) -> None:
    """diffusers computes in the inputs' dtype, so it is given float64 copies of them."""
    scheduler = make_scheduler("epsilon")
    step = make_step(SHAPE, 3, dtypes=DTYPES[dtypes], table=schedule_table(scheduler))
    step = replace(step, index=torch.full((3,), 20, device=DEVICE))
    noise = normal(3, *SHAPE, seed=6).to(step.x_t.dtype)
    output, x_t = step.model_output.detach().double(), step.x_t.double()
    expected = scheduler.step(output, int(scheduler.timesteps[20]), x_t, eta=1.0, variance_noise=noise.double())
    assert_rounded(sample(step, noise, backend="triton").x_prev.detach(), expected.prev_sample)


def test_the_kl_of_a_real_schedule_is_that_of_float64() -> None:
    """To a model output it is |on_m * (m - m')|^2 / sigma^2: nothing cancels, however small sigma is."""
    table = schedule_table(make_scheduler("epsilon"))
    step = replace(make_step(SHAPE, STEPS, table=table), index=torch.arange(STEPS, device=DEVICE))
    reference = step.model_output.detach() + 1e-3 * normal(STEPS, *SHAPE, seed=9)
    found = score(step, None, reference, "output", backend="triton").kl
    expected = score(exact(step, table=table), None, reference.double(), "output", backend="torch").kl
    assert_near(found, expected, relative=1e-5)
