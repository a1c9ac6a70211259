"""No learning: the pretrained policy, sampled and judged like every other; the baseline of every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ddpo_bench.protocols import Algorithm, Policy, Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "frozen")
@dataclass
class Frozen(Algorithm):
    """No learning: the baseline."""

    learns: ClassVar[bool] = False

    def updates(self, config: RunConfig) -> int:
        return 0

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        return 0, 0

    def start(self, policy: Policy, seed: int) -> None:
        """Nothing to prepare."""

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept."""
