"""Reward-weighted regression on final samples (Peters and Schaal 2007; Black et al. 2024, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples
from ddpo_bench.options import option
from ddpo_bench.registry import register


@register("algorithm", "reward_weighted")
@dataclass
class RewardWeighted(ForwardProcessAlgorithm):
    """Denoising regression on final samples that are noised again, weighted by exponentiated advantages."""

    temperature: float = option(1.0, "of the weights exp(A / temperature)", above=0, maximum=1e6)

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(exp(A / temperature) |output - target|^2)."""
        weights = (batch.advantages / self.temperature).exp()
        return (weights * batch.error(batch.output)).mean(), {}
