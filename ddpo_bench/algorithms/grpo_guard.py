"""GRPO-Guard (2025, arXiv 2510.22319): a ratio without the drift of its mean, and steps that weigh alike.

It is stated for flow matching, x = (1 - s) x_0 + s e.  Any other process x = alpha x_0 + sigma e is one of flow
matching in x / (alpha + sigma), with s = sigma / (alpha + sigma); DDIM is treated as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from ddpo_kernels import ppo_loss
from torch import Tensor

from ddpo_bench.algorithm_bases.group_relative import GroupRelative
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy, Sampler
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register


@register("algorithm", "grpo_guard")
@dataclass
class GRPOGuard(GroupRelative):
    """Clipped policy gradient on groups with a normalised ratio and equal weight for all steps (GRPO-Guard)."""

    clip_range: Quantity = option(
        Quantity(0.13, NATS),
        "distance from 1 at which a normalised ratio is clipped; its log is std times that of the ratio",
        above=0,
        maximum=1e9,
    )

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.clip = self.clip_range.mean_units(math.prod(policy.latent_shape))

    def surrogate(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(max(-A r, -A clip(r, 1 - c, 1 + c)) / (-dt)) with log r = std (log_prob - log_prob_old + KL).

        That is the mean over dimensions of z (mean - mean_old), where z is the noise that was drawn.
        """
        scale, duration = flow_steps(batch.rollout.sampler, batch.x_t)
        std = batch.law.std / scale[batch.steps]
        log_ratio = std * (batch.log_prob - batch.log_prob_old + batch.kl)
        weighted = batch.advantages / duration[batch.steps]
        loss, statistics = ppo_loss(log_ratio, torch.zeros_like(log_ratio), weighted, self.clip, batch.backend)
        return loss, {"clip_fraction": statistics.clip_fraction, **batch.kl_estimates}


def flow_steps(sampler: Sampler, like: Tensor) -> tuple[Tensor, Tensor]:
    """Steps in flow matching's terms: alpha + sigma of the state where each ends, and -dt, [T] each.

    Args:
        like: [B, C, H, W], latents of their dtype and shape.
    """
    places = torch.arange(len(sampler.timesteps) + 1, device=like.device)  # the last one is where the last step ends
    one = like.new_ones(len(places), *like.shape[1:])
    zero = torch.zeros_like(one)
    alpha, sigma = (sampler.noised(*parts, places)[0].flatten(1)[:, 0] for parts in ((one, zero), (zero, one)))
    total = alpha + sigma
    return total[1:], -(sigma / total).diff()
