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
        conditioning: of the M samples.
    """

    latents: Tensor
    rewards: Tensor
    conditioning: Conditioning

    @classmethod
    def of(cls, rollout: Rollout) -> Replay:
        return cls(rollout.latents, rollout.rewards.to(rollout.latents.device), rollout.conditioning)

    def __len__(self) -> int:
        return len(self.rewards)

    def extended(self, newer: Replay, most: int) -> Replay:
        """Both, but of all samples the newest `most` alone."""
        latents = torch.cat([self.latents, newer.latents])[-most:]
        rewards = torch.cat([self.rewards, newer.rewards])[-most:]
        return Replay(latents, rewards, self.conditioning.followed_by(newer.conditioning)[-most:])

    def standardised_rewards(self) -> Tensor:
        """[M], float32, of mean 0 and standard deviation 1."""
        return ((self.rewards - self.rewards.mean()) / (self.rewards.std(correction=0) + 1e-6)).float()

    def state_dict(self) -> dict[str, Any]:
        return {"latents": self.latents, "rewards": self.rewards, "conditioning": dict(vars(self.conditioning))}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Replay:
        return cls(state["latents"], state["rewards"], Conditioning(**state["conditioning"]))
