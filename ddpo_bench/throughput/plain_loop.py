"""DDPO as a plain loop, to compare with: eager, step by step, in the order of DDPO's public implementation.

Black et al. 2024; the order of operations is that of kvablack/ddpo-pytorch (`scripts/train.py`,
`ddpo_pytorch/diffusers_patch/ddim_with_logprob.py`), written anew and without its host synchronisations: guidance by
chunks, a DDIM step with its log-prob by the scheduler's tables, and a PPO loss for a batch of samples at one timestep
after another, whose gradients accumulate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

Network = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]


class Schedule:
    """Diffusers' DDIM scheduler, with its table on the device."""

    def __init__(self, config: Mapping[str, Any], steps: int, eta: float, device: torch.device):
        from diffusers import DDIMScheduler

        self.scheduler: DDIMScheduler = DDIMScheduler.from_config(dict(config))
        self.scheduler.set_timesteps(steps, device=device)
        self.timesteps: Tensor = self.scheduler.timesteps
        self.alphas_cumprod = self.scheduler.alphas_cumprod.to(device)
        self.stride = self.scheduler.config.num_train_timesteps // steps
        self.eta = eta


@dataclass
class Sampled:
    """A batch of trajectories.

    Attributes:
        text: what the network is conditioned on, [2B, ...] as (uncond, cond) under guidance, else [B, ...].
        latents: [B, T + 1, C, H, W].
        log_probs: [B, T].
    """

    text: Mapping[str, Tensor]
    latents: Tensor
    log_probs: Tensor


def ddim_step(
    schedule: Schedule,
    model_output: Tensor,
    timestep: Tensor,
    sample: Tensor,
    noise: Tensor | None = None,
    prev_sample: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """x_{t-1} and its log-prob, mean units.

    Args:
        schedule: the scheduler and eta.
        model_output, sample: [B, C, H, W].
        timestep: [B].
        noise: that x_{t-1} is drawn with, where it is not given.
        prev_sample: x_{t-1}, where it is given.
    """
    previous = (timestep - schedule.stride).clamp_min(0)
    shape = (-1, *[1] * (sample.ndim - 1))
    alpha = schedule.alphas_cumprod.gather(0, timestep).view(shape)
    alpha_prev = schedule.alphas_cumprod.gather(0, previous).view(shape)
    if schedule.scheduler.config.prediction_type == "v_prediction":
        original = alpha.sqrt() * sample - (1 - alpha).sqrt() * model_output
        epsilon = alpha.sqrt() * model_output + (1 - alpha).sqrt() * sample
    else:
        original = (sample - (1 - alpha).sqrt() * model_output) / alpha.sqrt()
        epsilon = model_output
    std = schedule.eta * ((1 - alpha_prev) / (1 - alpha) * (1 - alpha / alpha_prev)).sqrt()
    mean = alpha_prev.sqrt() * original + (1 - alpha_prev - std**2).sqrt() * epsilon
    if prev_sample is None:
        prev_sample = mean + std * noise
    log_prob = -((prev_sample.detach() - mean) ** 2) / (2 * std**2) - std.log() - math.log(math.sqrt(2 * math.pi))
    return prev_sample, log_prob.mean(dim=tuple(range(1, sample.ndim)))


def guided_output(
    network: Network, sample: Tensor, timestep: Tensor, text: Mapping[str, Tensor], guidance_scale: float
) -> Tensor:
    """The network's output with classifier-free guidance, [B, C, H, W] float32."""
    if guidance_scale == 1.0:
        return network(sample, timestep, text).float()
    output = network(torch.cat([sample] * 2), torch.cat([timestep] * 2), text).float()
    unconditional, conditional = output.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)


@torch.no_grad()
def sample_trajectories(
    network: Network,
    schedule: Schedule,
    x_t: Tensor,
    text: Mapping[str, Tensor],
    guidance_scale: float,
    noises: Iterable[Tensor] | None = None,
) -> Sampled:
    """Draw a trajectory for each sample.

    Args:
        network: as `guided_output` calls it.
        schedule: the scheduler and eta.
        x_t: [B, C, H, W], x_T.
        text: as for `Sampled`.
        guidance_scale: 1.0 is none.
        noises: of each step, [B, C, H, W]; drawn where they are not given.
    """
    given = iter(noises) if noises is not None else None
    latents, log_probs = [x_t], []
    for t in schedule.timesteps:
        timestep = t.expand(len(x_t))
        output = guided_output(network, x_t, timestep, text, guidance_scale)
        noise = torch.randn_like(x_t) if given is None else next(given)
        x_t, log_prob = ddim_step(schedule, output, timestep, x_t, noise)
        latents.append(x_t)
        log_probs.append(log_prob)
    return Sampled(text, torch.stack(latents, 1), torch.stack(log_probs, 1))


def ppo_loss(log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    ratio = torch.exp(log_prob - log_prob_old)
    unclipped = -advantages * ratio
    clipped = -advantages * torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    return torch.mean(torch.maximum(unclipped, clipped))


def accumulate(
    network: Network,
    schedule: Schedule,
    sampled: Sampled,
    advantages: Tensor,
    steps: Sequence[int],
    guidance_scale: float,
    clip_range: float,
) -> None:
    """Add the gradient of the mean PPO loss over some steps of a batch, one step after another.

    Args:
        network: as `guided_output` calls it.
        schedule, sampled: as they were drawn.
        advantages: [B].
        steps: indices into the timesteps.
        guidance_scale: 1.0 is none.
        clip_range: of the ratio, in mean units.
    """
    for j in steps:
        timestep = schedule.timesteps[j].expand(len(advantages))
        output = guided_output(network, sampled.latents[:, j], timestep, sampled.text, guidance_scale)
        _, log_prob = ddim_step(
            schedule, output, timestep, sampled.latents[:, j], prev_sample=sampled.latents[:, j + 1]
        )
        loss = ppo_loss(log_prob, sampled.log_probs[:, j], advantages.clamp(-5, 5), clip_range)
        (loss / len(steps)).backward()


def optimise(optimiser: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], max_grad_norm: float) -> None:
    """One optimiser step on the accumulated gradient."""
    torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimiser.step()
    optimiser.zero_grad()
