"""The DDIM law against diffusers' own step, whose mean and std show when its noise is given."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from ddpo_kernels import NoDensity
from diffusers import DDIMScheduler
from torch import Tensor

from ddpo_bench.config import ConfigError, run_config
from ddpo_bench.samplers.ddim import DDIM
from ddpo_bench.samplers.ddim_schedule import ddim_coefficients
from ddpo_bench.samplers.ddim_step import ddim_law, ddim_step_with_logprob
from ddpo_bench.samplers.noise_schedule import schedule_of

STEPS = 5
PREDICTIONS = ("epsilon", "v_prediction", "sample")
LIMITS: dict[str, dict[str, Any]] = {
    "plain": {"clip_sample": False},
    "clip_sample": {"clip_sample": True, "clip_sample_range": 0.4},
    "thresholding": {
        "clip_sample": False,
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.7,
        "sample_max_value": 1.5,
    },
}


def make_scheduler(**changes: Any) -> DDIMScheduler:
    """Stable Diffusion's schedule in float64, so that differences are not rounding."""
    settings = {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False} | changes
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **settings)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    scheduler.set_timesteps(STEPS)
    return scheduler


def draw(batch: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A model output and x_t, of odd sizes."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, batch, 4, 3, 5, generator=generator, dtype=torch.float64).to(dtype)
    return both[0], both[1]


def diffusers_law(
    scheduler: DDIMScheduler, output: Tensor, t: int, x_t: Tensor, eta: float, reclip: bool
) -> tuple[Tensor, Tensor]:
    """Mean and std [B, C, H, W] of diffusers' step, by giving it noise 0 and noise 1."""
    mean, shifted = (
        scheduler.step(output, t, x_t, eta, reclip, variance_noise=torch.full_like(x_t, z)).prev_sample for z in (0, 1)
    )
    return mean, shifted - mean


@pytest.mark.parametrize(("prediction", "limit"), list(itertools.product(PREDICTIONS, LIMITS)))
@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("reclip", [False, True])
def test_mean_and_std_are_those_of_diffusers(prediction: str, limit: str, eta: float, reclip: bool) -> None:
    scheduler = make_scheduler(prediction_type=prediction, **LIMITS[limit])
    output, x_t = draw()
    for t in scheduler.timesteps.tolist():
        mean, std = diffusers_law(scheduler, output, t, x_t, eta, reclip)
        coefficients = ddim_coefficients(scheduler, torch.tensor([t] * 3), eta)
        law = ddim_law(schedule_of(scheduler), coefficients, output, x_t, use_clipped_model_output=reclip)
        torch.testing.assert_close(law.mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(law.std.view(3, 1, 1, 1).expand_as(std), std, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_every_spacing_of_timesteps_is_that_of_diffusers(spacing: str) -> None:
    scheduler = make_scheduler(timestep_spacing=spacing)
    output, x_t = draw()
    for t in scheduler.timesteps.tolist()[:-1]:
        expected = scheduler.step(output, t, x_t, 1.0, variance_noise=torch.ones_like(x_t)).prev_sample
        law = ddim_law(schedule_of(scheduler), ddim_coefficients(scheduler, torch.tensor([t] * 3), 1.0), output, x_t)
        torch.testing.assert_close(law.sample(torch.ones_like(x_t)), expected, rtol=1e-9, atol=1e-9)


def test_the_last_step_keeps_a_density_where_diffusers_would_end_at_alpha_one() -> None:
    """diffusers' set_alpha_to_one makes the last step deterministic; here its previous timestep is 0 instead."""
    ends_at_one, ends_at_zero = make_scheduler(set_alpha_to_one=True), make_scheduler(set_alpha_to_one=False)
    output, x_t = draw()
    first, last = (torch.tensor([int(ends_at_one.timesteps[k])] * 3) for k in (0, -1))
    assert diffusers_law(ends_at_one, output, int(last[0]), x_t, 1.0, False)[1].abs().max() == 0
    for t in (first, last):
        one, zero = (
            ddim_law(schedule_of(s), ddim_coefficients(s, t, 1.0), output, x_t) for s in (ends_at_one, ends_at_zero)
        )
        assert torch.equal(one.mean, zero.mean)
        assert torch.equal(one.std, zero.std)
        assert (one.std > 0).all()


@pytest.mark.parametrize("limit", LIMITS)
def test_a_batch_of_mixed_timesteps_equals_its_samples_one_by_one(limit: str) -> None:
    scheduler = make_scheduler(**LIMITS[limit])
    output, x_t = draw(STEPS)
    generator = torch.Generator().manual_seed(1)
    prev, log_prob = ddim_step_with_logprob(scheduler, output, scheduler.timesteps, x_t, eta=1.0, generator=generator)
    for i, t in enumerate(scheduler.timesteps):
        one = slice(i, i + 1)
        alone = ddim_step_with_logprob(scheduler, output[one], t, x_t[one], eta=1.0, prev_sample=prev[one])[1]
        torch.testing.assert_close(alone, log_prob[one], rtol=1e-12, atol=0)


def test_sampling_adds_the_generators_noise_as_diffusers_does() -> None:
    scheduler = make_scheduler()
    output, x_t = draw()
    t = int(scheduler.timesteps[1])
    expected = scheduler.step(output, t, x_t, 0.7, generator=torch.Generator().manual_seed(5)).prev_sample
    found, _ = ddim_step_with_logprob(scheduler, output, t, x_t, eta=0.7, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_same_generator_gives_the_same_sample_bit_for_bit() -> None:
    scheduler = make_scheduler()
    output, x_t = draw()
    first, second = (
        ddim_step_with_logprob(scheduler, output, 401, x_t, eta=1.0, generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    other = ddim_step_with_logprob(scheduler, output, 401, x_t, eta=1.0, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("limit", LIMITS)
def test_scoring_a_returned_sample_repeats_its_log_prob_bit_for_bit(dtype: torch.dtype, limit: str) -> None:
    scheduler = make_scheduler(**LIMITS[limit])
    output, x_t = draw(STEPS, dtype=dtype)
    prev, log_prob = ddim_step_with_logprob(scheduler, output, scheduler.timesteps, x_t, eta=1.0)
    again, scored = ddim_step_with_logprob(scheduler, output, scheduler.timesteps, x_t, eta=1.0, prev_sample=prev)
    assert torch.equal(scored, log_prob)
    assert torch.equal(again, prev)
    assert prev.dtype == dtype
    assert log_prob.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_the_log_prob_is_the_gaussian_density_averaged_over_dimensions() -> None:
    scheduler = make_scheduler(prediction_type="v_prediction")
    output, x_t = draw()
    t = int(scheduler.timesteps[2])
    prev, log_prob = ddim_step_with_logprob(scheduler, output, t, x_t, eta=0.8)
    density = torch.distributions.Normal(*diffusers_law(scheduler, output, t, x_t, 0.8, False)).log_prob(prev)
    torch.testing.assert_close(log_prob, density.mean(dim=(1, 2, 3)), rtol=1e-8, atol=1e-8)


def test_a_generator_and_a_previous_sample_together_are_refused() -> None:
    output, x_t = draw()
    with pytest.raises(ValueError, match="not both"):
        ddim_step_with_logprob(
            make_scheduler(), output, 401, x_t, eta=1.0, generator=torch.Generator(), prev_sample=x_t
        )


def test_eta_zero_has_no_density_and_says_so_in_one_line() -> None:
    output, x_t = draw()
    with pytest.raises(NoDensity, match="use eta > 0") as raised:
        ddim_step_with_logprob(make_scheduler(), output, 401, x_t)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("eta", [-0.5, 1.1, float("nan")])
def test_an_eta_that_is_no_share_is_refused_before_anything_is_loaded(eta: float) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.eta: must be (at least 0 and at most 1|a finite number), got "):
        run_config({"sampler": {"eta": eta}}, "test")


def test_a_schedule_with_a_step_of_no_noise_is_refused_before_sampling() -> None:
    config = dict(make_scheduler(steps_offset=0).config)
    with pytest.raises(NoDensity, match=r"timestep 0 .*steps_offset: 1") as raised:
        DDIM(steps=STEPS).start(config, torch.device("cpu"))
    assert "\n" not in str(raised.value)


def test_another_prediction_type_is_refused_by_name() -> None:
    scheduler = make_scheduler()
    scheduler.register_to_config(prediction_type="score")
    with pytest.raises(ValueError, match="'score' is not one of epsilon, v_prediction, sample"):
        ddim_coefficients(scheduler, scheduler.timesteps, 1.0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_policys_law_in_float32_is_the_exact_law_rounded(prediction: str) -> None:
    scheduler = make_scheduler(prediction_type=prediction)
    sampler = DDIM(steps=STEPS)
    sampler.start(dict(scheduler.config), torch.device("cpu"))
    assert sampler.timesteps.tolist() == scheduler.timesteps.tolist()
    output, x_t = draw(STEPS)
    exact = ddim_law(schedule_of(scheduler), ddim_coefficients(scheduler, scheduler.timesteps, 1.0), output, x_t)
    law = sampler.law(output.float(), x_t.float(), torch.arange(STEPS), guidance_scale=1.0)
    torch.testing.assert_close(law.mean.double(), exact.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(law.std.double(), exact.std, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("prediction", "zero_snr"),  # a model that predicts the noise says nothing of x_0 where there is no signal
    [("epsilon", False), ("v_prediction", False), ("v_prediction", True), ("sample", False), ("sample", True)],
)
def test_the_forward_process_and_its_target_are_those_of_diffusers(prediction: str, zero_snr: bool) -> None:
    """Samples of one batch at different steps."""
    settings = {"timestep_spacing": "trailing", "rescale_betas_zero_snr": zero_snr}
    scheduler = DDIMScheduler(prediction_type=prediction, clip_sample=False, **settings)
    sampler = DDIM(steps=STEPS)
    sampler.start(dict(scheduler.config), torch.device("cpu"))
    x_0, noise = draw(STEPS, dtype=torch.float32)
    step = torch.tensor([3, 0, 4, 4, 1])
    timesteps = sampler.timesteps[step]
    x_t, target = sampler.noised(x_0, noise, step)
    torch.testing.assert_close(x_t, scheduler.add_noise(x_0, noise, timesteps))
    targets = {"epsilon": noise, "v_prediction": scheduler.get_velocity(x_0, noise, timesteps), "sample": x_0}
    torch.testing.assert_close(target, targets[prediction])
    assert x_t.dtype == target.dtype == torch.float32
