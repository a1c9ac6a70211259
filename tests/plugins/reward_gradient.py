"""The reward's gradient through one denoising step of noised final samples: DRaFT-LV (Clark et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.algorithm_bases.optimiser import Averages, step
from ddpo_bench.config import RunConfig
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Algorithm, Policy, Rollout
from ddpo_bench.registry import get, register


@register("algorithm", "reward_gradient")
@dataclass
class RewardGradient(Algorithm):
    """Ascends the reward of the last step's mean, decoded (DRaFT-LV)."""

    learning_rate: float = option(3e-4, "learning rate of AdamW", above=0, maximum=100)
    steps: int = option(10, "optimiser steps an epoch, each on all samples", minimum=1, maximum=LARGEST_COUNT)

    needs: ClassVar[Literal["transitions", "x_0"]] = "x_0"

    def mistakes(self, config: RunConfig) -> list[str]:
        if get("reward", config.reward.name).differentiable:
            return []
        return [f"reward: {config.reward.name} is not differentiable, which reward_gradient needs."]

    def updates(self, config: RunConfig) -> int:
        return config.epochs * self.steps

    def start(self, policy: Policy, seed: int) -> None:
        self.seed, self.rollouts_seen = seed, 0
        self.optimiser = torch.optim.AdamW(policy.parameters(), lr=self.learning_rate)

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        generator, averages = torch.Generator().manual_seed(self.seed * 100_003 + self.rollouts_seen), Averages()
        for _ in range(self.steps):
            noise = torch.randn(rollout.x_0.shape, generator=generator).to(policy.device)
            for chunk in torch.arange(len(rollout), device=policy.device).split(rollout.micro_batch):
                loss = -self.rewards(policy, rollout, chunk, noise[chunk]).mean()
                (loss * (len(chunk) / len(rollout))).backward()
                averages.add("loss", loss, len(chunk))
            averages.add("grad_norm", step(self.optimiser, policy.parameters(), max_grad_norm=1.0))
        self.rollouts_seen += 1
        rollout.network_passes.work += LEARNING * self.steps * len(rollout)
        return averages.result()

    def rewards(self, policy: Policy, rollout: Rollout, samples: Tensor, noise: Tensor) -> Tensor:
        """[B], of samples [B] that are noised again and denoised in one step; differentiable in the parameters."""
        last = torch.full_like(samples, rollout.steps - 1)
        x_t, _ = rollout.sampler.noised(rollout.x_0[samples], noise, last)
        law = law_of(policy, rollout.sampler, x_t, last, rollout.conditioning[samples])
        prompts, metadata = ([of_all[n] for n in samples] for of_all in (rollout.prompts, rollout.metadata))
        return rollout.reward(policy.decode(law.mean), prompts, metadata).scores

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "rollouts_seen": self.rollouts_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.rollouts_seen = state["rollouts_seen"]
