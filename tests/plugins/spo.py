"""Simple policy optimisation (Xie et al. 2024, arXiv 2401.16025): a quadratic penalty takes the place of PPO's clip."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register


@register("algorithm", "spo")
@dataclass
class SPO(GradientAlgorithm):
    """Importance-weighted policy gradient that pulls ratios back to the clip range (SPO)."""

    clip_range: Quantity = option(
        Quantity(1.6, NATS), "distance of a ratio from 1 at which its gradient is 0", above=0, maximum=1e9
    )

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.clip = self.clip_range.mean_units(math.prod(policy.latent_shape))

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(-A r + |A| (r - 1)^2 / (2 c)), r = exp(log_prob - log_prob_old)."""
        moved = batch.ratio - 1
        penalty = batch.advantages.abs() * moved.square() / (2 * self.clip)
        outside = (moved.abs() > self.clip).float().mean()
        return (penalty - batch.advantages * batch.ratio).mean(), {"spo/outside_fraction": outside}
