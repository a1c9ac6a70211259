"""No learning: the pretrained policy, sampled and judged like every other; the baseline of every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.registry import register


@register("algorithm", "frozen")
@dataclass
class Frozen:
    """No learning: the baseline."""

    def start(self, policy: Policy, seed: int) -> None:
        """Nothing to prepare."""

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept."""
