"""The coefficients of DDIM's transition law, in float64.

Song et al. 2021, eq. 12 and 16, as used by DDPO (Black et al. 2024): with a = alpha_bar_t, a' = alpha_bar_prev,
    sigma = eta * sqrt((1 - a') / (1 - a)) * sqrt(1 - a / a')
    mean  = sqrt(a') * x0_hat + sqrt(1 - a' - sigma^2) * eps_hat
The previous timestep is clamped to >= 0, so that the last step keeps a density where eta > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from ddpo_kernels import NoDensity
from torch import Tensor

from ddpo_bench.samplers.law import law_table
from ddpo_bench.samplers.noise_schedule import NoiseSchedule, schedule_of
from ddpo_bench.samplers.scheduler_classes import UnusableSchedule, refused

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


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

    def deterministic_outside(self, steps: range) -> Coefficients:
        """eta = 0 at every other step, whose noise goes to the direction to x_t: 1 - a' = direction^2 + sigma^2."""
        index = torch.arange(len(self.std))
        noisy = (steps.start <= index) & (index < steps.stop)
        whole = (self.direction.square() + self.std.square()).sqrt()
        return replace(self, direction=torch.where(noisy, self.direction, whole), std=torch.where(noisy, self.std, 0.0))

    def table(self, clips: bool, use_clipped_model_output: bool = False) -> Tensor:
        """The rows that the step's kernels read, [N, 8] float64; without noise and without density where sigma is 0.

        Args:
            clips: whether x0_hat is clipped.
            use_clipped_model_output: also move eps_hat with it.  x_t = signal_t * x0 + noise_t * eps, so moving x0 by d
                moves eps by -signal_to_noise * d.
        """
        k = self
        if not clips:
            on_x, on_m = k.signal * k.x0_x + k.direction * k.eps_x, k.signal * k.x0_m + k.direction * k.eps_m
            return law_table(on_x, on_m, k.std)
        moved = k.signal_to_noise if use_clipped_model_output else torch.zeros_like(k.std)
        on_x, on_m = k.direction * (k.eps_x + moved * k.x0_x), k.direction * (k.eps_m + moved * k.x0_m)
        return law_table(on_x, on_m, k.std, k.x0_x, k.x0_m, k.signal - k.direction * moved)


def ddim_coefficients(scheduler: NoiseSchedule | SchedulerMixin, timesteps: Tensor, eta: float) -> Coefficients:
    """Coefficients at each of the timesteps, in float64.

    1 - a' - sigma^2 is formed as (1 - a') ((1 - eta^2) + eta^2 a (1 - a') / (a' (1 - a))), a sum of what is at least 0,
    because the difference itself may be rounded to less than 0.

    Args:
        scheduler: a schedule, or one of diffusers' schedulers with `set_timesteps` done.
        timesteps: [N], integer.
    Raises:
        NoDensity: where a step's standard deviation is 0.
        UnusableSchedule: where eta is above 1, or the model predicts noise from nothing else.
    """
    schedule = scheduler if isinstance(scheduler, NoiseSchedule) else schedule_of(scheduler)
    check_eta(eta)
    found = coefficients_at(schedule, timesteps.cpu().long(), eta)
    if (flat := torch.nonzero(~(found.std > 0))).numel():
        raise NoDensity(no_density(schedule, int(timesteps[flat[0, 0]])))
    return found


def deterministic_coefficients(schedule: NoiseSchedule) -> Coefficients:
    """Those of eta = 0, at all steps of a schedule.

    Raises:
        UnusableSchedule: where the model predicts noise from nothing else.
    """
    return coefficients_at(schedule, schedule.timesteps, 0.0)


def coefficients_at(schedule: NoiseSchedule, timesteps: Tensor, eta: float) -> Coefficients:
    alphas = schedule.alphas_cumprod.double()
    a, a_prev = alphas[timesteps], alphas[schedule.previous(timesteps)]
    refuse_noise_from_noise(schedule, timesteps, a)
    std = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
    left = (1 - eta**2) + eta**2 * (a / a_prev) * ((1 - a_prev) / (1 - a))  # what sigma^2 leaves of 1 - a'
    direction = ((1 - a_prev) * left).sqrt()
    predicted = prediction_coefficients(schedule.prediction_type, a)
    return Coefficients(*predicted, a_prev.sqrt(), direction, (a / (1 - a)).sqrt(), std)


def check_eta(eta: float) -> None:
    """Raises:
    NoDensity: for eta = 0 and below.
    UnusableSchedule: for eta above 1.
    """
    if eta <= 0:
        raise NoDensity(
            f"sampler.eta: DDIM with eta = {eta} is deterministic and has no log-prob; use eta > 0, for example 1.0."
        )
    if not eta <= 1:
        raise UnusableSchedule(
            f"sampler.eta: must be at most 1, got {eta}: DDIM with eta = 1 is DDPM, and more noise than that leaves "
            "less than nothing for the direction to x_t (1 - alpha_prev - sigma^2 < 0)."
        )


def refuse_noise_from_noise(schedule: NoiseSchedule, timesteps: Tensor, a: Tensor) -> None:
    """A model that predicts the noise cannot tell x_0 where x_t is noise alone.

    Raises:
        UnusableSchedule: naming the timestep.
    """
    if schedule.prediction_type == "epsilon" and (a <= 0).any():
        timestep = int(timesteps[a <= 0][0])
        raise refused(
            schedule.name,
            f"prediction_type: epsilon says nothing of x_0 at timestep {timestep}, where alpha_bar is 0 (zero terminal "
            "SNR). Set timestep_spacing: leading, or rescale_betas_zero_snr: false.",
        )


def no_density(schedule: NoiseSchedule, timestep: int) -> str:
    remedy = "Its betas must lie above 0 and below 1."
    if timestep == 0:
        crowded = 2 * schedule.steps > len(schedule.alphas_cumprod)
        remedy = "Use fewer steps." if crowded else "Set timestep_spacing: leading and steps_offset: 1."
    return str(refused(schedule.name, f"the step at timestep {timestep} has no noise, and so no log-prob. {remedy}"))


def forward_coefficients(schedule: NoiseSchedule) -> Tensor:
    """What the forward process multiplies x_0 and the noise with, at each step of a schedule and at x_0, in float64.

    Returns:
        [4, T + 1]: x_t = on_x * x_0 + on_noise * noise, and likewise the target, which is what the model predicts.
    """
    a = torch.cat([schedule.alphas_cumprod.double()[schedule.timesteps], torch.ones(1, dtype=torch.float64)])
    signal, noise = a.sqrt(), (1 - a).sqrt()
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    targets = {"epsilon": (zero, one), "v_prediction": (-noise, signal), "sample": (one, zero)}
    return torch.stack([signal, noise, *targets[schedule.prediction_type]])


def prediction_coefficients(prediction_type: str, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x0_x, x0_m, eps_x, eps_m) for what the model predicts: epsilon, v_prediction or sample."""
    signal, noise = a.sqrt(), (1 - a).sqrt()
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    if prediction_type == "epsilon":
        return 1 / signal, -noise / signal, zero, one
    if prediction_type == "v_prediction":  # Salimans & Ho 2022
        return signal, -noise, noise, signal
    return zero, one, 1 / noise, -signal / noise
