"""Group-relative advantages (GRPO, Shao et al. 2024).

Divided by the standard deviation of the group, as GRPO and DanceGRPO do, or of the whole epoch, as Flow-GRPO does by
default (`global_std`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ddpo_bench.advantages.statistics import clip_option
from ddpo_bench.moments import EPSILON, mean_and_std
from ddpo_bench.options import option
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("advantages", "group")
@dataclass
class Group:
    """Each reward against the rewards of the same prompt in the same epoch (GRPO, Shao et al. 2024)."""

    clip: float = clip_option()
    std: Literal["group", "global"] = option(
        "group", "whose standard deviation divides: that of the prompt's samples, or of the whole epoch's"
    )

    within_groups: ClassVar[bool] = True

    def mistakes(self, config: RunConfig) -> list[str]:
        """A group of one has nothing to be compared with."""
        if config.samples_per_prompt > 1:
            return []
        return [
            "samples_per_prompt: group advantages compare the samples of a prompt and need at least 2, got 1. "
            "Set samples_per_prompt: 8, or another divisor of samples_per_epoch."
        ]

    def update(self, prompts: list[str], rewards: Tensor) -> Tensor:
        advantages, whole = torch.zeros_like(rewards), mean_and_std(rewards)[1]
        groups: dict[str, list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault(prompt, []).append(index)
        for members in groups.values():  # a prompt drawn once has nothing to compare with: advantage 0
            mean, own = mean_and_std(rewards[members])
            advantages[members] = (rewards[members] - mean) / ((own if self.std == "group" else whole) + EPSILON)
        return advantages.clamp(-self.clip, self.clip).float()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept between epochs."""
