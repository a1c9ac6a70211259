"""DiffusionNFT: negative-aware fine-tuning on the forward process (Zheng et al. 2025, arXiv 2509.16117)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ddpo_bench.algorithm_bases.lagged_policy import LaggedPolicyAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, mean_square
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig

SMALLEST_ERROR = 1e-5  # by which a squared error is divided (the published code)


@register("algorithm", "nft")
@dataclass
class NFT(LaggedPolicyAlgorithm):
    """Regression towards good samples and away from bad ones, around a lagged policy (DiffusionNFT)."""

    learning_rate: float = option(5e-5, "learning rate of AdamW", above=0, maximum=100)
    passes: int = option(
        4, "number of passes over the rollout in an epoch, each with fresh noise", minimum=1, maximum=LARGEST_COUNT
    )
    beta: float = option(
        1.0, "distance of the implicit positive and negative policies from the lagged one", above=0, maximum=1e3
    )
    adv_clip_max: float = option(5.0, "advantage at which a sample counts as wholly good or bad", above=0, maximum=1e6)
    kl_weight: float = option(
        1e-4, "weight of the squared distance of the model output to the pretrained policy's", minimum=0, maximum=1e6
    )

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """c / beta mean(q L+ + (1 - q) L-), with c the largest advantage and q = (1 + clip(A / c, -1, 1)) / 2.

        L+ and L- are the errors of the implicit policies beta new + (1 - beta) old and (1 + beta) old - beta new.
        """
        old, new = batch.output_of("old"), batch.output
        positive, negative = self.beta * new + (1 - self.beta) * old, (1 + self.beta) * old - self.beta * new
        good = (batch.advantages / self.adv_clip_max).clamp(-1, 1) / 2 + 0.5
        error = good * relative_error(batch, positive) + (1 - good) * relative_error(batch, negative)
        loss = self.adv_clip_max / self.beta * error.mean()
        metrics = {"nft/contrast": mean_square(new.detach() - old).mean()}
        if self.kl_weight:
            distance = mean_square(new - batch.output_of("pretrained")).mean()
            loss, metrics["nft/pretrained_mse"] = loss + self.kl_weight * distance, distance
        return loss, metrics

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        forward, backward = super().network_passes(config)
        return (3 if self.kl_weight else 2) * forward, backward


def relative_error(batch: NoisedSamples, output: Tensor) -> Tensor:
    """[B], float64: mean square of the error in x_0 over its mean absolute value, which is held constant."""
    error = (batch.x_0_of(output) - batch.x_0).double()
    return mean_square(error) / error.detach().abs().flatten(1).mean(1).clamp(min=SMALLEST_ERROR)
