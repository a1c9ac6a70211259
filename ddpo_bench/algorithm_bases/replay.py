"""The replay of an off-policy algorithm: samples of the latest rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.protocols import Conditioning, Rollout


@dataclass
class Replay:
    """Trajectories with their prompts and rewards, oldest first.

    Attributes:
        latents: [M, T + 1, C, H, W], x_T first.
        rewards: [M], float64.
        embeddings, unconditional: [M, L, D], as in Conditioning.
    """

    latents: Tensor
    rewards: Tensor
    embeddings: Tensor
    unconditional: Tensor | None

    @classmethod
    def of(cls, rollout: Rollout) -> Replay:
        text = rollout.conditioning
        return cls(rollout.latents, rollout.rewards.to(rollout.latents.device), text.embeddings, text.unconditional)

    def __len__(self) -> int:
        return len(self.rewards)

    def extended(self, newer: Replay, most: int) -> Replay:
        """Both, but of all samples the newest `most` alone."""
        return Replay(*(newest(old, vars(newer)[name], most) for name, old in vars(self).items()))

    def conditioning(self, samples: Tensor) -> Conditioning:
        return Conditioning(self.embeddings, self.unconditional)[samples]

    def text(self, samples: Tensor) -> Tensor:
        """[B, D]: mean of the prompt embeddings over tokens."""
        return self.embeddings[samples].float().mean(1)

    def standardised_rewards(self) -> Tensor:
        """[M], float32, of mean 0 and standard deviation 1."""
        return ((self.rewards - self.rewards.mean()) / (self.rewards.std(correction=0) + 1e-6)).float()


def newest(old: Any, new: Any, most: int) -> Any:
    return None if new is None else torch.cat([old, new])[-most:]
