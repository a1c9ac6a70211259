"""The reference: DDPO's step and loss with the operations, and in the order, of its public implementation.

Black et al. 2024, "Training Diffusion Models with Reinforcement Learning"; github.com/kvablack/ddpo-pytorch,
`ddim_step_with_logprob` and the loop of `train.py`.  In every call, alphas and the standard
deviation are gathered on the CPU and broadcast to full size before they are moved to the device.  Training does not use
this code.
"""

from __future__ import annotations

import math

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ddpo_bench.microbench.schedule import ETA, GUIDANCE, scheduler


def full_size(values: Tensor, like: Tensor) -> Tensor:
    """Values [B] broadcast to [B, C, H, W], on the device of `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1)).broadcast_to(like.shape).to(like.device)


def alpha_at(schedule: DDIMScheduler, timestep: Tensor) -> Tensor:
    return schedule.alphas_cumprod.gather(0, timestep.cpu())


def alpha_before(schedule: DDIMScheduler, timestep: Tensor) -> Tensor:
    alpha = schedule.alphas_cumprod.gather(0, timestep.cpu())
    return torch.where(timestep.cpu() >= 0, alpha, schedule.final_alpha_cumprod)


def variance(schedule: DDIMScheduler, timestep: Tensor, previous: Tensor) -> Tensor:
    """sigma^2 at eta = 1, [B], on the device of the timesteps."""
    alpha = alpha_at(schedule, timestep).to(timestep.device)
    alpha_previous = alpha_before(schedule, previous).to(timestep.device)
    return (1 - alpha_previous) / (1 - alpha) * (1 - alpha / alpha_previous)


def mean_and_std(schedule: DDIMScheduler, output: Tensor, timestep: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, [B, C, H, W] each, from an output with guidance applied."""
    previous = timestep - schedule.config.num_train_timesteps // schedule.num_inference_steps
    previous = torch.clamp(previous, 0, schedule.config.num_train_timesteps - 1)
    alpha = full_size(alpha_at(schedule, timestep), x_t)
    alpha_previous = full_size(alpha_before(schedule, previous), x_t)
    beta = 1 - alpha
    x0 = (x_t - beta**0.5 * output) / alpha**0.5
    std = full_size(ETA * variance(schedule, timestep, previous) ** 0.5, x_t)
    direction = (1 - alpha_previous - std**2) ** 0.5 * output
    return alpha_previous**0.5 * x0 + direction, std


def log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density, [B], in mean units."""
    log_prob = -((x.detach() - mean) ** 2) / (2 * std**2) - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return log_prob.mean(dim=tuple(range(1, log_prob.ndim)))


def law(model_output: Tensor, x_t: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
    unconditional, conditional = model_output.chunk(2)
    output = unconditional + GUIDANCE * (conditional - unconditional)
    return mean_and_std(scheduler(), output, timestep, x_t)


def sample(model_output: Tensor, x_t: Tensor, timestep: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The sampled x_prev in the dtype of x_t, and the log-prob that it had before rounding to that dtype."""
    mean, std = law(model_output, x_t, timestep)
    x_prev = mean + std * noise
    log_prob = log_density(x_prev, mean, std)
    return x_prev.type(x_t.dtype), log_prob


def score(model_output: Tensor, x_t: Tensor, timestep: Tensor, x_prev: Tensor) -> tuple[Tensor]:
    mean, std = law(model_output, x_t, timestep)
    return (log_density(x_prev, mean, std),)


def score_kl(
    model_output: Tensor, x_t: Tensor, timestep: Tensor, x_prev: Tensor, reference: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-prob and exact KL; DDPO has no exact KL, so it is computed in the way of its log-prob."""
    mean, std = law(model_output, x_t, timestep)
    kl = (mean - reference) ** 2 / (2 * std**2)
    return log_density(x_prev, mean, std), kl.mean(dim=tuple(range(1, kl.ndim)))


def loss(log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """The clipped loss; its statistics are computed too, because training computes them in every step."""
    ratio = torch.exp(log_prob - log_prob_old)
    unclipped = -advantages * ratio
    clipped = -advantages * torch.clamp(ratio, 1.0 - clip_range, 1.0 + clip_range)
    total = torch.mean(torch.maximum(unclipped, clipped))
    _ = 0.5 * torch.mean((log_prob - log_prob_old) ** 2), torch.mean((torch.abs(ratio - 1.0) > clip_range).float())
    return total


def learning_step(
    model_output: Tensor,
    x_t: Tensor,
    timestep: Tensor,
    x_prev: Tensor,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float,
) -> Tensor:
    return loss(*score(model_output, x_t, timestep, x_prev), log_prob_old, advantages, clip_range)
