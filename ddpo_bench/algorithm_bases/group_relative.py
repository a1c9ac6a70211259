"""What algorithms of the GRPO family share: groups of samples of one prompt, some of which have nothing to teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.pretrained_penalty import PretrainedPenalty
from ddpo_bench.protocols import Rollout
from ddpo_bench.registry import get

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class GroupRelative(PretrainedPenalty):
    """Learns from the samples whose advantage is not 0, as Flow-GRPO does; a group without spread has no others."""

    def mistakes(self, config: RunConfig) -> list[str]:
        """Advantages that compare samples of other prompts too are not relative to a group."""
        return across_groups(config)

    def learned_from(self, rollout: Rollout) -> Tensor:
        with_advantage = [n for n, advantage in enumerate(rollout.advantages.tolist()) if advantage]
        return torch.tensor(with_advantage, dtype=torch.long)


def across_groups(config: RunConfig) -> list[str]:
    """The mistake of a run whose advantages compare samples of different prompts; empty where they do not."""
    name = config.advantages.name
    if getattr(get("advantages", name), "within_groups", False):
        return []
    return [
        f"advantages: {config.algorithm.name} compares the samples of a prompt with each other, and {name} does not. "
        "Set advantages: group, and samples_per_prompt: 8 or another divisor of samples_per_epoch."
    ]
