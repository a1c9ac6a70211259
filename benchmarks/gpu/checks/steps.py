"""Denoising steps of the embedded model, drawn as a rollout draws them and scored as learning scores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Conditioning, Policy, Rollout, Sampler, Trajectories
from ddpo_bench.training.sampling import sample_batch
from ddpo_bench.training.trainer import start_policy

BATCH = 16 if torch.cuda.is_available() else 4
PROMPTS = (["two cats", "a dog", "three birds", "a red fish"] * BATCH)[:BATCH]
NOISE = Noise(seed=0, epoch=1, purpose="rollout")


@dataclass
class Steps:
    """Drawn steps.

    Attributes:
        latents: [B, T + 1, C, H, W].
        log_probs: [B, T].
    """

    config: RunConfig
    policy: Policy
    sampler: Sampler
    conditioning: Conditioning
    latents: Tensor
    log_probs: Tensor

    @property
    def count(self) -> int:
        return self.log_probs.shape[1]

    def rollout(self) -> Rollout:
        """The steps as an algorithm is given them, with random advantages."""
        scores = torch.randn(BATCH, generator=torch.Generator().manual_seed(1))
        return Rollout(
            prompts=PROMPTS,
            metadata=[{}] * BATCH,
            conditioning=self.conditioning,
            noise=NOISE,
            x_0=self.latents[:, -1],
            rewards=scores.double(),
            advantages=scores.to(self.policy.device),
            trajectories=Trajectories(self.latents, self.log_probs, NOISE),
            reward=self.config.reward.build(),
            sampler=self.sampler,
            micro_batch=BATCH,
        )

    def log_prob(self, rows: Tensor, at: Tensor) -> Tensor:
        """[B]: log-probs of stored steps as learning scores them, differentiable.

        Args:
            rows, at: [B]: samples, and the index of a step for each.
        """
        conditioning = self.conditioning[rows]
        law = law_of(self.policy, self.sampler, self.latents[rows, at], at, conditioning)
        return law.log_prob(self.latents[rows, at + 1])


def make_config(precision: str, **changes: Any) -> RunConfig:
    policy = {"name": "stable_diffusion", "model": "embedded", "precision": precision, "guidance_scale": 3.0}
    sizes = {"samples_per_epoch": BATCH, "micro_batch": BATCH}
    return run_config(
        {"policy": policy, "sampler": {"name": "ddim", "steps": 3}, "algorithm": "ppo"} | sizes | changes, "checks"
    )


def make_steps(device: torch.device, precision: str, **changes: Any) -> Steps:
    """Draw steps.

    Args:
        device: where.
        precision: of the network.
        changes: of the run's other keys.
    """
    config = make_config(precision, **changes)
    policy, sampler = start_policy(config, device)
    conditioning = policy.encode(PROMPTS)
    drawn = draw(policy, sampler, conditioning)
    return Steps(config, policy, sampler, conditioning, drawn.latents, drawn.log_probs)


@torch.no_grad()
def draw(policy: Policy, sampler: Sampler, conditioning: Conditioning) -> Trajectories:
    return sample_batch(policy, sampler, conditioning, NOISE)
