"""What algorithms share that train the policy with AdamW: its options, and the state that a resumed run needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ddpo_bench.algorithm_bases.optimiser import Optimiser
from ddpo_bench.noise import Noise
from ddpo_bench.options import option
from ddpo_bench.protocols import Algorithm, CopyName, Footprint, Policy
from ddpo_bench.whole_tensors import copy_whole, for_checkpoint

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class AdamWAlgorithm(Algorithm):
    """Steps of AdamW on clipped gradients; a subclass gives `update`, which counts `rollouts_seen`."""

    learning_rate: float = option(3e-4, "learning rate of AdamW", above=0, maximum=100)
    weight_decay: float = option(1e-4, "weight decay of AdamW", minimum=0, maximum=100)
    adam_epsilon: float = option(
        1e-8,
        "epsilon of AdamW, which no longer adapts where the gradient is not well above it (metric grad_rms)",
        above=0,
        maximum=1,
    )
    max_grad_norm: float = option(1.0, "norm to which larger gradients are scaled down", above=0, maximum=1e9)

    def copies(self) -> tuple[CopyName, ...]:
        """Copies of the policy that this algorithm moves: they begin as the policy, and are part of its state."""
        return ()

    def state_bytes(self, config: RunConfig, policy: Footprint) -> int:
        return super().state_bytes(config, policy) + 4 * policy.trained * len(self.copies())

    def start(self, policy: Policy, seed: int) -> None:
        self.seed = seed
        self.rollouts_seen = 0
        for name in self.copies():
            policy.keep(name)
        self.copied = [policy.copies.values[name] for name in self.copies()]
        self.optimiser = Optimiser(
            policy.parameters(), self.learning_rate, self.weight_decay, self.adam_epsilon, self.max_grad_norm
        )

    def generator(self) -> torch.Generator:
        """What is random in the next update, the same however often a run was interrupted before it."""
        return torch.Generator().manual_seed(self.seed * 100_003 + self.rollouts_seen)

    def noise(self) -> Noise:
        """The noise of one update."""
        return Noise(self.seed, self.rollouts_seen, "learning")

    def state_dict(self) -> dict[str, Any]:
        state = {"optimiser": self.optimiser.state_dict(), "rollouts_seen": self.rollouts_seen}
        copies = [[for_checkpoint(value) for value in values] for values in self.copied]
        return state | ({"copies": copies} if copies else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.rollouts_seen = state["rollouts_seen"]
        for values, saved in zip(self.copied, state.get("copies", []), strict=True):
            for value, kept in zip(values, saved, strict=True):
                copy_whole(kept, value)
