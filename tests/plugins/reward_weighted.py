"""Reward-weighted regression on final samples (Peters and Schaal 2007; Black et al. 2024, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.optimiser import Averages, step
from ddpo_bench.config import RunConfig
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Algorithm, Policy, Rollout
from ddpo_bench.registry import register


@register("algorithm", "reward_weighted")
@dataclass
class RewardWeighted(Algorithm):
    """Denoising regression on final samples that are noised again, weighted by exponentiated advantages."""

    learning_rate: float = option(3e-4, "learning rate of AdamW", above=0, maximum=100)
    steps: int = option(10, "optimiser steps an epoch, each on all samples", minimum=1, maximum=LARGEST_COUNT)
    temperature: float = option(1.0, "of the weights exp(A / temperature)", above=0, maximum=1e6)

    needs: ClassVar[Literal["transitions", "x_0"]] = "x_0"

    def updates(self, config: RunConfig) -> int:
        return config.epochs * self.steps

    def start(self, policy: Policy, seed: int) -> None:
        self.seed, self.rollouts_seen = seed, 0
        self.optimiser = torch.optim.AdamW(policy.parameters(), lr=self.learning_rate)

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        generator, averages = torch.Generator().manual_seed(self.seed * 100_003 + self.rollouts_seen), Averages()
        for _ in range(self.steps):
            noise = torch.randn(rollout.x_0.shape, generator=generator).to(policy.device)
            places = torch.randint(rollout.steps, (len(rollout),), generator=generator).to(policy.device)
            for chunk in torch.arange(len(rollout), device=policy.device).split(rollout.micro_batch):
                loss = self.loss(policy, rollout, chunk, noise[chunk], places[chunk])
                (loss * (len(chunk) / len(rollout))).backward()
                averages.add("loss", loss, len(chunk))
            averages.add("grad_norm", step(self.optimiser, policy.parameters(), max_grad_norm=1.0))
        self.rollouts_seen += 1
        rollout.network_passes.work += LEARNING * self.steps * len(rollout)
        return averages.result()

    def loss(self, policy: Policy, rollout: Rollout, samples: Tensor, noise: Tensor, places: Tensor) -> Tensor:
        """mean(exp(A / temperature) |output - target|^2), of samples [B] noised at the steps `places` [B]."""
        x_t, target = rollout.sampler.noised(rollout.x_0[samples], noise, places)
        output = policy.predict(x_t, rollout.sampler.timesteps[places], rollout.conditioning[samples])
        weights = (rollout.advantages[samples] / self.temperature).exp()
        return (weights * (output - target).square().mean(dim=(1, 2, 3))).mean()

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "rollouts_seen": self.rollouts_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.rollouts_seen = state["rollouts_seen"]
