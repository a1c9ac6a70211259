"""The laws of one step in float64, written from the papers alone: nothing here is shared with what it judges.

DDIM (Song et al. 2021, eq. 12 and 16; Black et al. 2024), with a = alpha_bar_t and a' = alpha_bar_prev, the previous
timestep being at least 0:
    sigma = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')
    mean  = sqrt(a') x0_hat + sqrt(1 - a' - sigma^2) eps_hat
Flow-SDE (Liu et al. 2025, Flow-GRPO), with x = (1 - s) x_0 + s e, v = e - x_0, dt = s' - s < 0:
    g     = noise_level sqrt(s / (1 - s)), where 1 - s is that of the second sigma at s = 1
    mean  = x + [v + g^2 / (2 s) (x + (1 - s) v)] dt
    sigma = g sqrt(-dt)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler


@dataclass(frozen=True)
class ExactLaw:
    """N(mean, std^2 I): mean [B, C, H, W] and std [B], float64."""

    mean: Tensor
    std: Tensor

    def at(self, z: Tensor) -> Tensor:
        """The sample that lies z standard deviations from the mean."""
        return self.mean + spread(self.std) * z.double()

    def squares(self, x_prev: Tensor) -> Tensor:
        """[B], mean over latent dimensions of ((x_prev - mean) / std)^2."""
        return ((x_prev.detach().double() - self.mean) / spread(self.std)).square().flatten(1).mean(1)


LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def log_prob(law: ExactLaw, x_prev: Tensor) -> Tensor:
    """[B], the Gaussian log-density with its constants, averaged over latent dimensions; x_prev has no gradient."""
    return -0.5 * law.squares(x_prev) - law.std.log() - LOG_SQRT_2PI


def ddim_law(scheduler: DDIMScheduler, model_output: Tensor, timestep: Tensor, sample: Tensor, eta: float) -> ExactLaw:
    """The law of DDIM's step, without clipping of x0_hat.

    Args:
        scheduler: with `set_timesteps` done.
        model_output, sample: [B, C, H, W].
        timestep: [B].
        eta: in (0, 1].
    """
    alphas = scheduler.alphas_cumprod.double().cpu()
    timestep = timestep.cpu().long()
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    here, there = alphas[timestep], alphas[(timestep - stride).clamp_min(0)]
    sigma = eta * ((1 - there) / (1 - here)).sqrt() * (1 - here / there).sqrt()
    x_0, noise = predicted(
        scheduler.config.prediction_type, model_output.double(), sample.double(), spread(here.to(sample.device))
    )
    signal, direction = (spread(k.to(sample.device)) for k in (there.sqrt(), (1 - there - sigma**2).sqrt()))
    return ExactLaw(signal * x_0 + direction * noise, sigma.to(sample.device))


def predicted(prediction_type: str, output: Tensor, x_t: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """x0_hat and eps_hat, from x_t = sqrt(a) x_0 + sqrt(1 - a) eps and, for v, v = sqrt(a) eps - sqrt(1 - a) x_0."""
    if prediction_type == "epsilon":
        return (x_t - (1 - a).sqrt() * output) / a.sqrt(), output
    if prediction_type == "v_prediction":
        return a.sqrt() * x_t - (1 - a).sqrt() * output, a.sqrt() * output + (1 - a).sqrt() * x_t
    return output, (x_t - a.sqrt() * output) / (1 - a).sqrt()


def flow_law(
    scheduler: FlowMatchEulerDiscreteScheduler,
    model_output: Tensor,
    timestep: Tensor,
    sample: Tensor,
    noise_level: float,
) -> ExactLaw:
    """The law of Flow-GRPO's step; arguments as of `ddim_law`, model_output being the velocity."""
    sigmas, timesteps = scheduler.sigmas.double().cpu(), scheduler.timesteps.cpu()
    index = (timesteps == timestep.cpu()[:, None]).long().argmax(1)
    s, dt = sigmas[index], sigmas[index + 1] - sigmas[index]
    g = noise_level * (s / (1 - torch.where(s == 1, sigmas[1], s))).sqrt()
    std = (g * (-dt).sqrt()).to(sample.device)
    s, dt, g = (spread(k.to(sample.device)) for k in (s, dt, g))
    x, v = sample.double(), model_output.double()
    return ExactLaw(x + (v + g**2 / (2 * s) * (x + (1 - s) * v)) * dt, std)


def spread(values: Tensor) -> Tensor:
    """[B] as [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
