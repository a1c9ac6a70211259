"""A trust region by mask: Flow-DPPO (2026, arXiv 2606.11025)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.pretrained_penalty import PretrainedPenalty
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register


@register("algorithm", "dppo")
@dataclass
class DPPO(PretrainedPenalty):
    """Importance-weighted policy gradient that drops transitions on their way out of a KL trust region (Flow-DPPO)."""

    delta: Quantity = option(
        Quantity(0.66, NATS),
        "exact KL of a transition to the behaviour policy from which on it is dropped, if it would go further",
        above=0,
        maximum=1e9,
    )

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.limit = self.delta.mean_units(math.prod(policy.latent_shape))

    def surrogate(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(-A r), without transitions of KL >= delta where the gradient would move r further from 1."""
        outward = batch.advantages * (batch.ratio.detach() - 1) > 0
        dropped = (batch.kl.detach() >= self.limit) & outward
        loss = torch.where(dropped, 0.0, -batch.advantages * batch.ratio).mean()
        return loss, {"dppo/dropped_fraction": dropped.double().mean(), **batch.kl_estimates}
