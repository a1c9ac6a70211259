"""DDIM as a stochastic policy: the Gaussian law of x_{t-1} given x_t.

Song et al. 2021, eq. 12 and 16, as used by DDPO (Black et al. 2024): with a = alpha_bar_t, a' = alpha_bar_prev,
    sigma = eta * sqrt((1 - a') / (1 - a)) * sqrt(1 - a / a')
    mean  = sqrt(a') * x0_hat + sqrt(1 - a' - sigma^2) * eps_hat
The previous timestep is clamped to >= 0, so that the last step keeps a density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ddpo_kernels import gaussian_log_prob, guided, per_sample
from diffusers import DDIMScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ddpo_bench.registry import register
from ddpo_bench.samplers.law import GaussianLaw


class NoDensity(ValueError):
    """A step with standard deviation 0 has no log-prob."""


@dataclass(frozen=True)
class Coefficients:
    """What a DDIM step multiplies with, one entry a step (or a sample): x0_hat and eps_hat are linear in x_t and the
    model output m, x0_hat = x0_x * x_t + x0_m * m and eps_hat = eps_x * x_t + eps_m * m."""

    x0_x: Tensor
    x0_m: Tensor
    eps_x: Tensor
    eps_m: Tensor
    signal: Tensor  # sqrt(a')
    direction: Tensor  # sqrt(1 - a' - sigma^2)
    std: Tensor  # sigma

    def __getitem__(self, index: Tensor) -> Coefficients:
        return Coefficients(*(value[index] for value in vars(self).values()))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Coefficients:
        return Coefficients(*(value.to(device, dtype) for value in vars(self).values()))


def ddim_coefficients(scheduler: DDIMScheduler, timesteps: Tensor, eta: float) -> Coefficients:
    """Coefficients at each of the timesteps, in float64.

    Args:
        scheduler: with `set_timesteps` done.
        timesteps: [N], integer.
    Raises:
        NoDensity: where a step's standard deviation is 0.
        ValueError: for a prediction type other than epsilon, v_prediction and sample.
    """
    timesteps = timesteps.cpu().long()
    alphas = scheduler.alphas_cumprod.double()
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    a, a_prev = alphas[timesteps], alphas[(timesteps - stride).clamp_min(0)]
    std = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
    if (flat := torch.nonzero(std <= 0)).numel():
        raise NoDensity(no_density(eta, int(timesteps[flat[0, 0]])))
    x0_x, x0_m, eps_x, eps_m = prediction_coefficients(scheduler.config.prediction_type, a)
    return Coefficients(x0_x, x0_m, eps_x, eps_m, a_prev.sqrt(), (1 - a_prev - std**2).sqrt(), std)


def no_density(eta: float, timestep: int) -> str:
    if eta <= 0:
        return f"sampler.eta: DDIM with eta = {eta} is deterministic and has no log-prob; use eta > 0, for example 1.0."
    return (
        f"sampler: the step at timestep {timestep} has standard deviation 0 and no log-prob; "
        "set steps_offset: 1 in the model's scheduler_config.json."
    )


def prediction_coefficients(prediction_type: str, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x0_x, x0_m, eps_x, eps_m) for what the model predicts."""
    signal, noise = a.sqrt(), (1 - a).sqrt()
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    if prediction_type == "epsilon":
        return 1 / signal, -noise / signal, zero, one
    if prediction_type == "v_prediction":  # Salimans & Ho 2022
        return signal, -noise, noise, signal
    if prediction_type == "sample":
        return zero, one, 1 / noise, -signal / noise
    raise ValueError(f"prediction type {prediction_type!r} is not one of epsilon, v_prediction, sample.")


class DDIMLaw(GaussianLaw):
    """The law of one DDIM step for a batch whose samples may be at different timesteps."""

    def __init__(
        self,
        scheduler: DDIMScheduler,
        coefficients: Coefficients,
        model_output: Tensor,
        x_t: Tensor,
        guidance_scale: float = 1.0,
        use_clipped_model_output: bool = False,
    ):
        super().__init__(coefficients.std)
        self.scheduler = scheduler
        self.coefficients = coefficients
        self.model_output = model_output
        self.x_t = x_t
        self.guidance_scale = guidance_scale
        self.use_clipped_model_output = use_clipped_model_output

    def form_mean(self) -> Tensor:
        output = guided(self.model_output, len(self.x_t), self.guidance_scale)
        config, k = self.scheduler.config, self.coefficients
        if not (config.thresholding or config.clip_sample):
            on_x = k.signal * k.x0_x + k.direction * k.eps_x
            on_m = k.signal * k.x0_m + k.direction * k.eps_m
            return per_sample(on_x, output) * self.x_t + per_sample(on_m, output) * output
        x0 = per_sample(k.x0_x, output) * self.x_t + per_sample(k.x0_m, output) * output
        eps = per_sample(k.eps_x, output) * self.x_t + per_sample(k.eps_m, output) * output
        if config.thresholding:
            clipped = self.scheduler._threshold_sample(x0)
        else:
            clipped = x0.clamp(-config.clip_sample_range, config.clip_sample_range)
        if self.use_clipped_model_output:
            # x_t = signal_t * x0 + noise_t * eps, so moving x0 by d moves eps by -signal_t / noise_t * d
            eps = eps - per_sample(self.signal_to_noise(), output) * (clipped - x0)
        return per_sample(k.signal, output) * clipped + per_sample(k.direction, output) * eps

    def signal_to_noise(self) -> Tensor:
        """[B], sqrt(a / (1 - a)), from the coefficients alone: x0_x * a + x0_m * b, ... of each prediction type."""
        k = self.coefficients
        kind = self.scheduler.config.prediction_type
        if kind == "epsilon":
            return -1 / k.x0_m
        return k.x0_x / k.eps_x if kind == "v_prediction" else -k.eps_m


@register("sampler", "ddim")
@dataclass
class DDIM:
    """DDIM with eta > 0, as DDPO uses it (Song et al. 2021)."""

    steps: int = 10  # denoising steps of a trajectory
    eta: float = 1.0  # share of the DDPM posterior's noise; > 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: must be at least 1, got {self.steps}.")
        if self.eta <= 0:
            raise ValueError(no_density(self.eta, 0).removeprefix("sampler."))

    def start(self, scheduler_config: dict[str, Any], device: torch.device) -> None:
        """Build the schedule from the model's own scheduler configuration.

        Raises:
            NoDensity: where a step's standard deviation is 0.
        """
        self.scheduler = DDIMScheduler.from_config(scheduler_config)
        self.scheduler.set_timesteps(self.steps)
        self.timesteps = self.scheduler.timesteps.to(device)
        exact = ddim_coefficients(self.scheduler, self.scheduler.timesteps, self.eta)
        self.coefficients = exact.to(device, torch.float32)

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> DDIMLaw:
        return DDIMLaw(self.scheduler, self.coefficients[step], model_output, x_t, guidance_scale)


def ddim_step_with_logprob(
    scheduler: DDIMScheduler,
    model_output: Tensor,
    timestep: int | Tensor,
    sample: Tensor,
    eta: float = 0.0,
    use_clipped_model_output: bool = False,
    generator: torch.Generator | None = None,
    prev_sample: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One DDIM step with its log-prob, in the calling convention of DDPO's reference implementation.

    Args:
        model_output, sample: [B, C, H, W], guidance already applied.
        timestep: one for all, or [B].
        eta: > 0.
        prev_sample: [B, C, H, W]; scored instead of sampling where given.
    Returns:
        x_{t-1} in the sample's dtype, and its log-prob [B] in mean units (float64 for float64 inputs, else float32).
    Raises:
        NoDensity: for eta = 0 or a step of standard deviation 0.
        ValueError: where both generator and prev_sample are given.
    """
    if prev_sample is not None and generator is not None:
        raise ValueError("Give either generator (to sample) or prev_sample (to score it), not both.")
    dtype = torch.promote_types(sample.dtype, torch.float32)
    timesteps = torch.as_tensor(timestep).reshape(-1).expand(len(sample))
    coefficients = ddim_coefficients(scheduler, timesteps, eta).to(sample.device, dtype)
    law = DDIMLaw(
        scheduler,
        coefficients,
        model_output.to(dtype),
        sample.to(dtype),
        use_clipped_model_output=use_clipped_model_output,
    )
    if prev_sample is None:
        noise = randn_tensor(model_output.shape, generator=generator, device=sample.device, dtype=model_output.dtype)
        # Round first, then score: the log-prob is that of the sample as stored.
        prev_sample = law.sample(noise.to(dtype)).to(sample.dtype)
    return prev_sample, gaussian_log_prob(prev_sample.to(dtype), law.mean, law.std)
