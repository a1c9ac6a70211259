"""The reward's gradient through the last denoising step: DRaFT-1 (Clark et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ddpo_bench.algorithm_bases.reward_gradient import RewardGradientAlgorithm
from ddpo_bench.registry import register


@register("algorithm", "reward_gradient")
@dataclass
class RewardGradient(RewardGradientAlgorithm):
    """Ascends the reward through the last denoising step (DRaFT-1)."""

    def last_steps(self, steps: int, generator: torch.Generator) -> int:
        return 1
