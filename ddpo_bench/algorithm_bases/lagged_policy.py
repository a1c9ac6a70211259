"""What forward-process algorithms share whose samples are drawn by a lagged copy of the policy, `old`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import CopyName, Policy, Rollout


@dataclass
class LaggedPolicyAlgorithm(ForwardProcessAlgorithm):
    """Samples with `old`, which follows the trained policy after every epoch: old = d old + (1 - d) new."""

    old_decay_rate: float = option(
        0.001, "growth of d, the weight of the lagged policy's own weights, with every epoch", minimum=0, maximum=1
    )
    old_decay_start: int = option(
        0, "number of epochs before d begins to grow", minimum=0, maximum=LARGEST_COUNT, unit="epochs"
    )
    old_decay_max: float = option(0.5, "largest d", minimum=0, maximum=1)

    @property
    def old_decay(self) -> float:
        """d after the present epoch."""
        return min(max(0.0, self.old_decay_rate * (self.rollouts_seen - self.old_decay_start)), self.old_decay_max)

    def copies(self) -> tuple[CopyName, ...]:
        return ("old",)

    def acting(self, policy: Policy) -> AbstractContextManager[None]:
        return policy.copy("old")

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        decay = self.old_decay
        metrics = super().update(policy, rollout)
        policy.blend("old", decay)
        return metrics
