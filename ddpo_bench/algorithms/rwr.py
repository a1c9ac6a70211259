"""Reward-weighted regression on final samples (Lee et al. 2023; Black et al. 2024, section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "rwr")
@dataclass
class RWR(ForwardProcessAlgorithm):
    """Denoising regression on the policy's own samples, weighted by exp(beta A) or on the best of them alone (RWR)."""

    learning_rate: float = option(5e-5, "learning rate of AdamW", above=0, maximum=100)
    minibatches: int = option(
        2,
        "optimiser steps in one pass over a rollout, each on an equal share of its noised samples",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    passes: int = option(
        2, "number of passes over the rollout in an epoch, each with fresh noise", minimum=1, maximum=LARGEST_COUNT
    )
    weighting: Literal["dense", "sparse"] = option(
        "dense", "dense: every sample by exp(beta A); sparse: the best of the epoch by 1, the others by 0"
    )
    beta: float = option(
        1.0,
        "inverse temperature, which multiplies advantages: a larger one is greedier (the published code's temperature "
        "multiplies rewards)",
        minimum=0,
        maximum=1e6,
    )
    best: float = option(0.1, "share of an epoch's samples that sparse weighting learns from", above=0, maximum=1)

    def together(self, rollout: Rollout) -> list[Tensor]:
        """Each sample alone; with sparse weighting those of the largest advantages, of which there is at least one."""
        if self.weighting == "dense":
            return super().together(rollout)
        order = rollout.advantages.argsort(descending=True, stable=True).cpu()
        return list(order[: self.kept(len(rollout))].split(1))

    def kept(self, samples: int) -> int:
        return max(1, math.floor(self.best * samples)) if self.weighting == "sparse" else samples

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(w |output - target|^2 / D), w = N softmax(beta A) over the rollout's N samples, or 1."""
        error = batch.error(batch.output)
        if self.weighting == "sparse":
            return error.mean(), {}
        weights = weights_of(batch.rollout.advantages, self.beta)
        effective = weights.sum().square() / weights.square().sum() / len(weights)
        return (weights[batch.samples] * error).mean(), {"rwr/effective_fraction": effective}

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        forward, backward = super().network_passes(config)
        share = self.kept(config.samples_per_epoch) / config.samples_per_epoch
        return round(forward * share), round(backward * share)


def weights_of(advantages: Tensor, beta: float) -> Tensor:
    """N softmax(beta A), [N], of mean 1."""
    return len(advantages) * torch.softmax(beta * advantages, 0)
