"""What an algorithm must offer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ddpo_bench.protocols.policies import Footprint, Policy
from ddpo_bench.protocols.rollouts import Rollout

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


class Algorithm(Protocol):
    """Improves a policy from rollouts; owns its optimisation and all state that a resumed run needs.

    A class that has this one as its base inherits what most algorithms say.

    Attributes:
        learns: whether it changes the policy.
        learns_from_all: whether an epoch's learning grows with its samples; not where it draws from a replay.
        sharded: whether it can learn while weights are sharded (FSDP2), of which it reads no more than gradients.
        needs: what a rollout must hold: "transitions" (latents and log-probs of every step) or "x_0" alone.
    """

    learns: ClassVar[bool] = True
    learns_from_all: ClassVar[bool] = True
    sharded: ClassVar[bool] = True
    needs: ClassVar[Literal["transitions", "x_0"]] = "transitions"

    def mistakes(self, config: RunConfig) -> list[str]:
        """What in a run's other keys does not go with this algorithm, each line beginning with the key."""
        return []

    def updates(self, config: RunConfig) -> int:
        """Optimiser steps of the policy in a whole run."""

    def network_passes(self, config: RunConfig) -> tuple[int, int] | None:
        """Forward and backward passes that learning does in a whole run, for one transition each; None if not known."""
        return None

    def state_bytes(self, config: RunConfig, policy: Footprint) -> int:
        """What the state of a run holds, in memory and in a checkpoint: by default AdamW's two moments."""
        return 2 * 4 * policy.trained if self.learns else 0

    def start(self, policy: Policy, seed: int) -> None:
        """Bind to a policy before the first update: make optimisers, critics, generators."""

    def acting(self, policy: Policy) -> AbstractContextManager[None]:
        """Context in which `policy` is the one that samples rollouts; by default the one that is trained."""
        return nullcontext()

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Learn from one rollout; returns metrics."""

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        """The forward and backward pass of learning from every sample of a rollout at once, at its first step.

        `micro_batch: auto` tries with it how many samples fit into memory, and is refused for an algorithm that learns
        without having it; it changes nothing but gradients.
        """

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
