"""Group-relative policy optimisation: Flow-GRPO (Liu et al. 2025), DanceGRPO (Xue et al. 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ddpo_kernels import ppo_loss
from torch import Tensor

from ddpo_bench.algorithm_bases.group_relative import GroupRelative
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register


@register("algorithm", "grpo")
@dataclass
class GRPO(GroupRelative):
    """Clipped policy gradient on group-relative advantages, with a KL to the pretrained policy (Flow-GRPO)."""

    clip_range: Quantity = option(
        Quantity(1.6, NATS),
        "distance of a transition's importance ratio from 1 at which it is clipped",
        above=0,
        maximum=1e9,
    )
    kl_weight: float = option(
        0.004,
        "weight of a step's exact KL to the pretrained policy, which is in mean units (Flow-GRPO's beta x |dt|)",
        minimum=0,
        maximum=1e9,
    )

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.clip = self.clip_range.mean_units(math.prod(policy.latent_shape))

    def surrogate(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(max(-A r, -A clip(r, 1 - c, 1 + c))) with r = exp(log_prob - log_prob_old), in one kernel."""
        loss, statistics = ppo_loss(batch.log_prob, batch.log_prob_old, batch.advantages, self.clip, batch.backend)
        return loss, statistics._asdict()
