"""Advantage-weighted matching (Xue et al. 2025): policy gradient with the forward process's loss as log-prob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, mean_square
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import CopyName, Policy, Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig

SMALL = 1e-10  # keeps roots of errors differentiable

Weighting = Literal["none", "t", "t2", "huber", "ghuber"]


@register("algorithm", "awm")
@dataclass
class AWM(ForwardProcessAlgorithm):
    """Advantage-weighted denoising regression, held at the pretrained policy and at an average of itself (AWM)."""

    minibatches: int = option(
        5,
        "optimiser steps in one pass over a rollout, each on an equal share of its noised samples",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    passes: int = option(
        1, "number of passes over the rollout in an epoch, each with fresh noise", minimum=1, maximum=LARGEST_COUNT
    )
    timesteps_per_sample: int = option(
        6, "number of different timesteps at which a pass noises each sample", minimum=1, maximum=1000
    )
    timestep_fraction: float = option(
        0.9, "share of the sampler's timesteps, the noisiest first, from which they are drawn", above=0, maximum=1
    )
    weighting: Weighting = option(
        "ghuber", "of a squared error l at noise level t: l, l t, l t^2, sqrt(l) t, or l^p t / p for ghuber"
    )
    p: float = option(0.25, "power of the error with weighting ghuber", above=0, maximum=1)
    adv_clip_max: float = option(
        5.0, "value at which advantages are clipped, and by which they are divided", above=0, maximum=1e6
    )
    beta: float = option(
        0.001, "weight of the mean squared distance to the pretrained policy's output", minimum=0, maximum=1e6
    )
    ema_beta: float = option(
        1.0, "weight of the mean squared distance to the output of the average of the weights", minimum=0, maximum=1e6
    )
    ema_decay: float = option(0.3, "largest decay of that average, which moves once an epoch", minimum=0, below=1)
    ema_decay_rate: float = option(
        0.001, "growth of the decay in an epoch, from 0 until it is ema_decay", minimum=0, maximum=1
    )

    def copies(self) -> tuple[CopyName, ...]:
        return ("ema",) if self.ema_beta else ()

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(-A lp) with lp = -weighted(|output - target|^2 / D), and the distances to the two copies."""
        log_prob = -weighted(batch.error(batch.output), batch.noise_level, self.weighting, self.p)
        advantages = batch.advantages.clamp(-self.adv_clip_max, self.adv_clip_max) / self.adv_clip_max
        loss, metrics = -(advantages * log_prob).mean(), {"awm/log_prob": log_prob.mean()}
        held: dict[CopyName, float] = {"pretrained": self.beta, "ema": self.ema_beta}
        for name, weight in held.items():
            if weight:
                distance = mean_square(batch.output - batch.output_of(name)).mean()
                loss, metrics[f"awm/distance_{name}"] = loss + weight * distance, distance
        return loss, metrics

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Optimise over one rollout, then move the average."""
        decay = min(self.ema_decay, self.ema_decay_rate * self.rollouts_seen)
        metrics = super().update(policy, rollout)
        if self.ema_beta:
            policy.blend("ema", decay)
        return metrics

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        forward, backward = super().network_passes(config)
        return forward * (1 + bool(self.beta) + bool(self.ema_beta)), backward


def weighted(error: Tensor, t: Tensor, weighting: Weighting, p: float) -> Tensor:
    """Weighted errors, [B], as the published code has them.

    Args:
        error: [B], mean squared error, >= 0.
        t: [B], noise level, 0 (none) to 1 (nothing else).
        p: power of the error with "ghuber".
    """
    if weighting == "none":
        return error
    if weighting == "t":
        return error * t
    if weighting == "t2":
        return error * t.square()
    if weighting == "huber":
        return ((error + SMALL).sqrt() - SMALL**0.5) * t
    return ((error + SMALL) ** p - SMALL**p) * t / p
