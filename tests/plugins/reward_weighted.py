"""Reward-weighted regression on final samples (Peters and Schaal 2007; Black et al. 2024, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.algorithm_bases.final_samples import FinalSamplesAlgorithm
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.registry import register


@register("algorithm", "reward_weighted")
@dataclass
class RewardWeighted(FinalSamplesAlgorithm):
    """Denoising regression on final samples that are noised again, weighted by exponentiated advantages."""

    temperature: float = option(1.0, "of the weights exp(A / temperature)", above=0, maximum=1e6)

    def loss(self, policy: Policy, rollout: Rollout, samples: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """mean(exp(A / temperature) |output - target|^2)."""
        x_t, target = rollout.sampler.noised(rollout.x_0[samples], noise, steps)
        output = policy.predict(x_t, rollout.sampler.timesteps[steps], rollout.conditioning[samples])
        weights = (rollout.advantages[samples] / self.temperature).exp()
        return (weights * (output - target).square().mean(dim=(1, 2, 3))).mean()
