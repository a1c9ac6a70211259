"""Fine-tuning along the reward's own gradient through the last denoising steps: DRaFT-K (Clark et al. 2024).

With AlignProp's random truncation (Prabhudesai et al. 2023), or on x_0 as predicted at a random late step, as ReFL
(Xu et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import output_of, x_0_of
from ddpo_bench.algorithm_bases.reward_gradient import RewardGradientAlgorithm
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "draft")
@dataclass
class DRaFT(RewardGradientAlgorithm):
    """Ascends a differentiable reward through the last denoising steps (DRaFT-K, AlignProp, ReFL)."""

    learning_rate: float = option(5e-5, "learning rate of AdamW", above=0, maximum=100)
    minibatches: int = option(
        4,
        "optimiser steps in an epoch, each on an equal share of its samples",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    k: int = option(
        1,
        "number of denoising steps at the end through which the gradient flows",
        minimum=1,
        maximum=1000,
        unit="steps",
    )
    truncation: Literal["fixed", "uniform", "gaussian"] = option(
        "fixed",
        "how an optimiser step chooses that number: k (DRaFT-K), or at random (AlignProp): uniform over 1 to k, or "
        "normal about k",
    )
    k_std: float = option(5.0, "standard deviation of truncation: gaussian", minimum=0, maximum=1000, unit="steps")
    scored: Literal["final", "predicted"] = option(
        "final", "what is scored: the final sample, or x_0 as predicted that many steps before the end (ReFL)"
    )

    def mistakes(self, config: RunConfig) -> list[str]:
        steps = config.sampler.options.get("steps", self.k)
        if self.k <= steps:
            return super().mistakes(config)
        too_many = (
            f"algorithm.k: draft goes back through {self.k} of {steps} denoising steps. Set it to at most {steps}."
        )
        return [*super().mistakes(config), too_many]

    def last_steps(self, steps: int, generator: torch.Generator) -> int:
        if self.truncation == "fixed":
            return self.k
        if self.truncation == "uniform":
            return int(torch.randint(1, self.k + 1, (), generator=generator))
        drawn = self.k + self.k_std * torch.randn((), generator=generator)
        return min(max(1, round(float(drawn))), steps)

    def loss(self, policy: Policy, rollout: Rollout, samples: Tensor, last: int) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean(reward) of the final sample, or of the x_0 that the policy predicts `last` steps before the end."""
        if self.scored == "final":
            return super().loss(policy, rollout, samples, last)
        x_t = self.drawn(policy, rollout, samples, last, until=last)
        on_device = samples.to(policy.device, non_blocking=True)
        step = torch.full_like(on_device, rollout.steps - last)
        output = output_of(policy, rollout.sampler, x_t, step, rollout.conditioning[on_device])
        rollout.network_passes.work += LEARNING * len(samples)
        return -self.rewards(policy, rollout, samples, x_0_of(rollout.sampler, x_t, output, step)).mean(), {}

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        if self.scored == "final":
            return super().network_passes(config)
        samples = config.epochs * config.samples_per_epoch
        last = self.last_steps(config.sampler.options.get("steps", 1), torch.Generator().manual_seed(config.seed))
        return samples * (config.sampler.options.get("steps", 1) - last + 1), samples
