"""Direct group preference optimisation (Luo et al. 2025, arXiv 2510.08425): all samples of a prompt on one noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ddpo_bench.algorithm_bases.group_relative import across_groups
from ddpo_bench.algorithm_bases.lagged_policy import LaggedPolicyAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, mean_square
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Rollout
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "dgpo")
@dataclass
class DGPO(LaggedPolicyAlgorithm):
    """Prefers the better part of a prompt's samples to the worse, all on one noise (group preferences)."""

    learning_rate: float = option(2e-4, "learning rate of AdamW", above=0, maximum=100)
    passes: int = option(
        4, "number of passes over the rollout in an epoch, each with fresh noise", minimum=1, maximum=LARGEST_COUNT
    )
    beta: float = option(
        100.0, "weight of a preference against the distance to the pretrained policy", above=0, maximum=1e6
    )
    clip_range: float = option(
        0.01,
        "distance of exp(e_old - e) from 1, in the direction of its advantage, from which a sample has no gradient",
        above=0,
        maximum=1e9,
    )
    kl_weight: float = option(
        0.02, "weight of the squared distance of the model output to the pretrained policy's", minimum=0, maximum=1e6
    )

    def mistakes(self, config: RunConfig) -> list[str]:
        """Advantages that do not sum to 0 in a group leave the constants of its preference in the loss."""
        return across_groups(config)

    def together(self, rollout: Rollout) -> list[Tensor]:
        return rollout.groups

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean over groups of log sigmoid(-s) / beta, s = beta mean over a group's samples of A (e - e_pretrained).

        Its gradient is the published one, sigmoid(s) A grad e with the sigmoid held constant.
        """
        pretrained = batch.output_of("pretrained")
        error, old = batch.error(batch.output), batch.error(batch.output_of("old"))
        is_far = self.has_gone_far_enough(old - error.detach(), batch.advantages)
        error = torch.where(is_far, error.detach(), error)
        score = self.beta * batch.mean_of_tuples(batch.advantages * (error - batch.error(pretrained)))
        distance = batch.mean_of_tuples(mean_square(batch.output - pretrained)).mean()
        return softplus(score).mean() / self.beta + self.kl_weight * distance, {
            "clip_fraction": batch.mean_of_tuples(is_far.to(error.dtype)).mean(),
            "dgpo/preference": score.detach().neg().sigmoid().mean(),
            "dgpo/pretrained_mse": distance,
        }

    def has_gone_far_enough(self, log_ratio: Tensor, advantages: Tensor) -> Tensor:
        """[B], whether a sample is already beyond the clip range in the direction in which it is pushed."""
        ratio = log_ratio.exp()
        return torch.where(advantages > 0, ratio > 1 + self.clip_range, ratio < 1 - self.clip_range)

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        forward, backward = super().network_passes(config)
        return 3 * forward, backward
