"""The replay of an off-policy algorithm: samples of the latest rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.host_memory import pick
from ddpo_bench.protocols import Conditioning, Rollout


@dataclass
class Replay:
    """Trajectories with their prompts and rewards, oldest first.

    Attributes:
        latents: [M, T + 1, C, H, W], x_T first; in host memory where rollouts are.
        rewards: [M], float64.
        conditioning: of the M samples.
    """

    latents: Tensor
    rewards: Tensor
    conditioning: Conditioning

    @classmethod
    def of(cls, rollout: Rollout) -> Replay:
        return cls(rollout.latents, rollout.rewards.to(rollout.x_0.device), rollout.conditioning)

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def device(self) -> torch.device:
        """Where learning is done."""
        return self.rewards.device

    def states(self, samples: Tensor, steps: Tensor) -> Tensor:
        """[B, C, H, W], on the device: latents of samples [B] at steps [B]."""
        return pick(self.latents, samples, steps, self.device)

    def extended(self, newer: Replay, most: int) -> Replay:
        """Both, but of all samples the newest `most` alone."""
        latents = torch.cat([self.latents.to(newer.latents.device), newer.latents])[-most:]
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
