"""Reward-ranked fine-tuning (Dong et al. 2023, arXiv 2304.06767): the model learns from its own best samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples
from ddpo_bench.options import option
from ddpo_bench.protocols import Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "raft")
@dataclass
class RAFT(ForwardProcessAlgorithm):
    """Denoising regression on the best samples of each prompt (RAFT)."""

    best: float = option(0.125, "share of a prompt's samples that is learned from, at least one", above=0, maximum=1)

    def mistakes(self, config: RunConfig) -> list[str]:
        if config.samples_per_prompt > 1:
            return []
        return ["samples_per_prompt: raft compares the samples of a prompt and needs at least 2, got 1. Set it to 8."]

    def together(self, rollout: Rollout) -> list[Tensor]:
        """The best samples of each prompt, [1] each."""
        rewards = rollout.rewards.cpu()
        ranked = (group[rewards[group].argsort(descending=True, stable=True)] for group in rollout.groups)
        return [sample for group in ranked for sample in group[: self.kept(len(group))].split(1)]

    def kept(self, samples: int) -> int:
        return max(1, int(self.best * samples))

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(|output - target|^2)."""
        return batch.error(batch.output).mean(), {}

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """Those of the best samples alone."""
        share = self.kept(config.samples_per_prompt) / config.samples_per_prompt
        forward, backward = super().network_passes(config)
        return round(forward * share), round(backward * share)
