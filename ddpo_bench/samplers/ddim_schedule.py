"""The coefficients of DDIM's transition law, in float64.

Song et al. 2021, eq. 12 and 16, as used by DDPO (Black et al. 2024): with a = alpha_bar_t, a' = alpha_bar_prev,
    sigma = eta * sqrt((1 - a') / (1 - a)) * sqrt(1 - a / a')
    mean  = sqrt(a') * x0_hat + sqrt(1 - a' - sigma^2) * eps_hat
The previous timestep is clamped to >= 0, so that the last step keeps a density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from ddpo_kernels import NoDensity, coefficient_table
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import DDIMScheduler


@dataclass(frozen=True)
class Coefficients:
    """What a DDIM step multiplies with, one entry a step (or a sample): x0_hat and eps_hat are linear in
    x_t and the model output m, x0_hat = x0_x * x_t + x0_m * m and eps_hat = eps_x * x_t + eps_m * m."""

    x0_x: Tensor
    x0_m: Tensor
    eps_x: Tensor
    eps_m: Tensor
    signal: Tensor  # sqrt(a')
    direction: Tensor  # sqrt(1 - a' - sigma^2)
    signal_to_noise: Tensor  # sqrt(a / (1 - a))
    std: Tensor  # sigma

    def __getitem__(self, index: Tensor) -> Coefficients:
        return Coefficients(*(value[index] for value in vars(self).values()))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Coefficients:
        return Coefficients(*(value.to(device, dtype) for value in vars(self).values()))

    def table(self, clips: bool, use_clipped_model_output: bool = False) -> Tensor:
        """The rows that the step's kernels read, [N, 8] float64.

        Args:
            clips: whether x0_hat is clipped.
            use_clipped_model_output: also move eps_hat with it.  x_t = signal_t * x0 + noise_t * eps, so moving x0 by d
                moves eps by -signal_to_noise * d.
        """
        k = self
        if not clips:
            on_x, on_m = k.signal * k.x0_x + k.direction * k.eps_x, k.signal * k.x0_m + k.direction * k.eps_m
            return coefficient_table(on_x, on_m, k.std)
        moved = k.signal_to_noise if use_clipped_model_output else torch.zeros_like(k.std)
        on_x, on_m = k.direction * (k.eps_x + moved * k.x0_x), k.direction * (k.eps_m + moved * k.x0_m)
        return coefficient_table(on_x, on_m, k.std, k.x0_x, k.x0_m, k.signal - k.direction * moved)


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
    predicted = prediction_coefficients(scheduler.config.prediction_type, a)
    return Coefficients(*predicted, a_prev.sqrt(), (1 - a_prev - std**2).sqrt(), (a / (1 - a)).sqrt(), std)


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
