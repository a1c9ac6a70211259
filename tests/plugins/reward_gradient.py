"""The reward's gradient through one denoising step of noised final samples: DRaFT-LV (Clark et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.final_samples import FinalSamplesAlgorithm
from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.config import RunConfig
from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.registry import get, register


@register("algorithm", "reward_gradient")
@dataclass
class RewardGradient(FinalSamplesAlgorithm):
    """Ascends the reward of the last step's mean, decoded (DRaFT-LV)."""

    def mistakes(self, config: RunConfig) -> list[str]:
        if get("reward", config.reward.name).differentiable:
            return []
        return [f"reward: {config.reward.name} is not differentiable, which reward_gradient needs."]

    def loss(self, policy: Policy, rollout: Rollout, samples: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """-mean(reward), whatever the drawn steps: the gradient flows through the last one."""
        last = torch.full_like(steps, rollout.steps - 1)
        x_t, _ = rollout.sampler.noised(rollout.x_0[samples], noise, last)
        law = law_of(policy, rollout.sampler, x_t, last, rollout.conditioning[samples])
        chosen = samples.tolist()
        prompts, metadata = ([of_all[n] for n in chosen] for of_all in (rollout.prompts, rollout.metadata))
        return -rollout.reward(policy.decode(law.mean), prompts, metadata).scores.mean()
