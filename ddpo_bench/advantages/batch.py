"""Advantages against the whole epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ddpo_bench.advantages.statistics import clip_option
from ddpo_bench.moments import EPSILON, mean_and_std
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("advantages", "batch")
@dataclass
class Batch:
    """Each reward against the whole epoch's rewards."""

    clip: float = clip_option()

    def mistakes(self, config: RunConfig) -> list[str]:
        """One sample has nothing to be compared with."""
        if config.samples_per_epoch > 1:
            return []
        return ["samples_per_epoch: batch advantages compare the samples of an epoch and need at least 2, got 1."]

    def update(self, prompts: list[str], rewards: Tensor) -> Tensor:
        mean, std = mean_and_std(rewards)
        return ((rewards - mean) / (std + EPSILON)).clamp(-self.clip, self.clip).float()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept between epochs."""
