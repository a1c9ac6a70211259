"""Proximal policy optimisation with a clipped importance ratio: DDPO-IS (Black et al. 2024; Schulman et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.algorithms.gradient import GradientAlgorithm
from ddpo_bench.algorithms.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.registry import register


@register("algorithm", "ppo")
@dataclass
class PPO(GradientAlgorithm):
    """Clipped importance-weighted policy gradient (DDPO-IS)."""

    clip_range: float = option(
        1e-4,
        "of the ratio of mean-unit log-probs; 1e-4 is about 1.6 nats at 16,384 latent dimensions",
        above=0,
        maximum=1e6,
    )

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(max(-A r, -A clip(r, 1 - c, 1 + c)))."""
        loss, statistics = batch.policy_loss(self.clip_range)
        return loss, {name: statistics[name] for name in ("clip_fraction", "kl_k1", "kl_k3")}
