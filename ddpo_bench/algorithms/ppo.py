"""Proximal policy optimisation with a clipped importance ratio: DDPO-IS (Black et al. 2024; Schulman et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.algorithm_bases.gradient import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register


@register("algorithm", "ppo")
@dataclass
class PPO(GradientAlgorithm):
    """Clipped importance-weighted policy gradient (DDPO-IS)."""

    clip_range: Quantity = option(
        Quantity(1.6, NATS),
        "how far a transition's importance ratio may move from 1 before it is clipped",
        above=0,
        maximum=1e9,
    )

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.clip = self.clip_range.mean_units(math.prod(policy.latent_shape))

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(max(-A r, -A clip(r, 1 - c, 1 + c)))."""
        loss, statistics = batch.policy_loss(self.clip)
        return loss, {name: statistics[name] for name in ("clip_fraction", "kl_k1", "kl_k3")}
