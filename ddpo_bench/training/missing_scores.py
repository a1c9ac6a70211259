"""Samples that got no score, NaN: they count as average ones, so that nothing is learned from them.

They stay in the batch, because a network may round differently at another batch size (the ratio would not be 1 before
the first update).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddpo_bench.protocols import AdvantageEstimator


def advantages_of(estimator: AdvantageEstimator, prompts: list[str], rewards: Tensor) -> Tensor:
    """Advantages by the estimator, which sees the samples with a score alone; 0 for those without.

    Args:
        prompts: N, as the policy reads them.
        rewards: [N], float64, NaN where a sample has no score.
    Returns:
        [N], float32.
    """
    scored = ~rewards.isnan()
    if scored.all():
        return estimator.update(prompts, rewards)
    advantages = torch.zeros(len(rewards), dtype=torch.float32)
    advantages[scored] = estimator.update([prompts[n] for n in scored.nonzero().flatten()], rewards[scored])
    return advantages


def with_means(prompts: list[str], rewards: Tensor) -> Tensor:
    """Rewards with the mean of the prompt's other samples, or else of the epoch's, in the place of NaN, [N]."""
    missing = rewards.isnan()
    if not missing.any():
        return rewards
    filled = rewards.clone()
    for n in missing.nonzero().flatten().tolist():
        same = torch.tensor([prompt == prompts[n] for prompt in prompts]) & ~missing
        filled[n] = rewards[same if same.any() else ~missing].mean()
    return filled
