"""What an advantage estimator must offer."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class AdvantageEstimator(Protocol):
    """Turns rewards into advantages.

    It may also have `mistakes(config: RunConfig) -> list[str]`: what in a run's other keys would leave every advantage
    0, each line beginning with the key; `clip`, the largest absolute value of an advantage; and `within_groups`,
    whether it compares only samples of the same prompt in the same epoch, as algorithms of the GRPO family require.
    """

    def update(self, prompts: list[str], rewards: Tensor) -> Tensor:
        """rewards: [N], float64; returns float32 [N]."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
