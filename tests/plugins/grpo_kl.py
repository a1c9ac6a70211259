"""Flow-GRPO (Liu et al. 2025): PPO's clipped ratio on group advantages, and an exact KL to the pretrained policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register


@register("algorithm", "grpo_kl")
@dataclass
class GRPOWithKL(GradientAlgorithm):
    """Clipped importance-weighted policy gradient with a KL to the pretrained policy."""

    clip_range: Quantity = option(Quantity(1.6, NATS), "how far a ratio may move from 1", above=0, maximum=1e9)
    kl_weight: float = option(0.04, "weight of the KL to the pretrained policy", minimum=0, maximum=1e6)

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.clip = self.clip_range.mean_units(math.prod(policy.latent_shape))

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        clipped = batch.ratio.clamp(1 - self.clip, 1 + self.clip)
        surrogate = torch.maximum(-batch.advantages * batch.ratio, -batch.advantages * clipped)
        kl = batch.law.kl(batch.pretrained)
        return (surrogate + self.kl_weight * kl).mean(), {"grpo_kl/kl": kl.mean()}
