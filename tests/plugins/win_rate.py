"""Win rates as advantages (Pref-GRPO, Wang et al. 2025): how many samples of the epoch a sample beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddpo_bench.registry import register


@register("advantages", "win_rate")
@dataclass
class WinRate:
    """The share of the epoch's samples that a sample beats minus the share that beats it, -1 to 1."""

    def update(self, prompts: list[str], rewards: Tensor) -> Tensor:
        difference = rewards[:, None] - rewards  # [N, N]
        return difference.sign().mean(1).float()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept between epochs."""
