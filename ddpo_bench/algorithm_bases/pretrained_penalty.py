"""What algorithms share that add the exact KL to the pretrained policy to their loss."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class PretrainedPenalty(GradientAlgorithm):
    """Minimises `surrogate` plus `kl_weight` times the exact KL(current || pretrained) of a step, in mean units.

    The pretrained policy costs one forward pass for each transition, unless the weight is 0.
    """

    kl_weight: float = option(
        0.0, "weight of a step's exact KL to the pretrained policy, which is in mean units", minimum=0, maximum=1e9
    )

    @abstractmethod
    def surrogate(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of a micro-batch without the penalty, and metrics to average."""

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = self.surrogate(batch)
        if not self.kl_weight:
            return loss, metrics
        kl = batch.law.kl(batch.pretrained).mean()
        return loss + self.kl_weight * kl, {**metrics, "kl_penalty": kl.detach()}

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        forward, backward = super().network_passes(config)
        return forward * (1 + bool(self.kl_weight)), backward
