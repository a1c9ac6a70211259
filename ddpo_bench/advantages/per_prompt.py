"""Per-prompt advantages (Black et al. 2024, section 5.1).

A buffer of the last rewards of each prompt, the current batch already in it, population standard deviation, whole-batch
statistics for prompts seen too rarely.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddpo_bench.advantages.statistics import clip_option
from ddpo_bench.moments import EPSILON, mean_and_std
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


class PerPromptStatTracker:
    """Rewards normalised by the mean and standard deviation of their prompt's buffer.

    Args:
        buffer_size: number of rewards kept for each prompt.
        min_count: number of rewards of a prompt from which its own statistics are used.
    """

    def __init__(self, buffer_size: int, min_count: int):
        self.buffer_size = buffer_size
        self.min_count = min_count
        self.stats: dict[str, deque[float]] = {}

    def update(self, prompts: list[str], rewards: Any) -> Tensor:
        """Add rewards and return their advantages.

        Args:
            rewards: [N], anything that becomes float64.
        Returns:
            [N], float64.
        """
        values = torch.as_tensor(rewards, dtype=torch.float64)
        for prompt, value in zip(prompts, values.tolist(), strict=True):
            self.stats.setdefault(prompt, deque(maxlen=self.buffer_size)).append(value)
        whole = mean_and_std(values)
        moments = {prompt: self.moments(prompt, whole) for prompt in set(prompts)}
        mean, std = torch.tensor([moments[prompt] for prompt in prompts], dtype=torch.float64).unbind(1)
        return (values - mean) / (std + EPSILON)

    def moments(self, prompt: str, whole: tuple[float, float]) -> tuple[float, float]:
        buffer = self.stats[prompt]
        if len(buffer) < self.min_count:
            return whole
        return mean_and_std(torch.tensor(list(buffer), dtype=torch.float64))


@register("advantages", "per_prompt")
@dataclass
class PerPrompt:
    """Each reward against the last rewards of its prompt (DDPO)."""

    buffer_size: int = option(
        16, "number of rewards kept for each prompt", minimum=2, maximum=LARGEST_COUNT, unit="rewards"
    )
    min_count: int = option(
        16,
        "number of rewards of a prompt from which its own statistics are used, not those of the whole epoch",
        minimum=2,  # one reward has no spread: its advantage would be 0
        maximum=LARGEST_COUNT,
        unit="rewards",
    )
    clip: float = clip_option()

    def __post_init__(self) -> None:
        if self.min_count > self.buffer_size:
            raise ValueError(f"min_count: must be at most buffer_size ({self.buffer_size}), got {self.min_count}.")
        self.tracker = PerPromptStatTracker(self.buffer_size, self.min_count)

    def mistakes(self, config: RunConfig) -> list[str]:
        """An epoch of one sample has no statistics of its own, and a prompt's take min_count epochs."""
        if config.samples_per_epoch > 1 or config.epochs >= self.min_count:
            return []
        return [
            f"samples_per_epoch: with one sample an epoch every advantage is 0 until a prompt has min_count "
            f"({self.min_count}) rewards, and the run ends after {config.epochs}. Use at least 2 samples an epoch."
        ]

    def update(self, prompts: list[str], rewards: Tensor) -> Tensor:
        return self.tracker.update(prompts, rewards).clamp(-self.clip, self.clip).float()

    def state_dict(self) -> dict[str, Any]:
        return {prompt: list(buffer) for prompt, buffer in self.tracker.stats.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tracker.stats = {prompt: deque(buffer, maxlen=self.buffer_size) for prompt, buffer in state.items()}
