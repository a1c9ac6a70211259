"""Online Diffusion-DPO (Wallace et al. 2024): the best sample of a prompt against the worst, at one noise and timestep.

With the clamp of D3PO (Yang et al. 2024) where `clip_range` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, noised_samples
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import CopyName, Policy, Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "dpo")
@dataclass
class DPO(ForwardProcessAlgorithm):
    """Prefers the best sample of each prompt to the worst (online Diffusion-DPO)."""

    learning_rate: float = option(5e-5, "learning rate of AdamW", above=0, maximum=100)
    passes: int = option(
        8, "number of passes over the rollout in an epoch, each with fresh noise", minimum=1, maximum=LARGEST_COUNT
    )
    beta: float = option(
        100.0, "weight of a preference against the distance to the reference policy", above=0, maximum=1e6
    )
    reference_every: int = option(
        0,
        "number of epochs after which the reference becomes the trained policy; 0: it stays the pretrained one",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="epochs",
    )
    clip_range: float = option(
        0.0,
        "log-ratio to the reference, in its own direction, from which a sample has no gradient; 0: none",
        minimum=0,
        maximum=1e6,
    )

    def mistakes(self, config: RunConfig) -> list[str]:
        """A sample alone has nothing to be preferred to."""
        if config.samples_per_prompt > 1:
            return []
        return [
            "samples_per_prompt: dpo compares the samples of a prompt and needs at least 2, got 1. "
            "Set samples_per_prompt: 8, or another divisor of samples_per_epoch."
        ]

    @property
    def reference(self) -> CopyName:
        return "old" if self.reference_every else "pretrained"

    def copies(self) -> tuple[CopyName, ...]:
        return ("old",) if self.reference_every else ()

    def together(self, rollout: Rollout) -> list[Tensor]:
        """[2] each: best and worst sample of a prompt."""
        rewards = rollout.rewards.cpu()
        return [
            torch.stack([group[rewards[group].argmax()], group[rewards[group].argmin()]]) for group in rollout.groups
        ]

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean(log sigmoid(beta / 2 (r_best - r_worst))), r = |reference's error|^2 - |error|^2 of a sample.

        Samples whose rewards are equal have no preference: their loss is 0.
        """
        log_ratio = batch.error(batch.output_of(self.reference)) - batch.error(batch.output)
        best, worst = log_ratio.view(-1, 2).unbind(1)
        far = torch.zeros_like(log_ratio, dtype=torch.bool)
        if self.clip_range:
            far = torch.stack([best > self.clip_range, worst < -self.clip_range], dim=1).flatten()
            best, worst = best.clamp(max=self.clip_range), worst.clamp(min=-self.clip_range)
        rewards = batch.rollout.rewards.to(best.device)[batch.samples].view(-1, 2)
        preferred = (rewards[:, 0] > rewards[:, 1]).to(best.dtype)
        margin = best - worst
        loss = (preferred * softplus(-self.beta / 2 * margin)).mean()
        return loss, {
            "clip_fraction": far.to(best.dtype).mean(),
            "dpo/tied_fraction": 1 - preferred.mean(),
            "dpo/right_fraction": (preferred * (margin > 0)).mean(),
        }

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        metrics = super().update(policy, rollout)
        if self.reference_every and self.rollouts_seen % self.reference_every == 0:
            policy.keep("old")
        return metrics

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        count = len(rollout)
        pairs = torch.arange(count + count % 2).clamp(max=count - 1).split(2)
        nothing = torch.zeros(len(pairs), dtype=torch.long)
        self.loss(noised_samples(policy, rollout, pairs, nothing, nothing, self.noise()))[0].backward()

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """Of two samples a prompt, by the policy and its reference."""
        forward, backward = (passes * 2 // config.samples_per_prompt for passes in super().network_passes(config))
        return 2 * forward, backward
