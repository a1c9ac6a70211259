"""How well a picture fits its prompt, by SigLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.learned import LearnedReward


@register("reward", "siglip_score")
@dataclass
class SiglipScore(LearnedReward):
    """Log odds that picture and prompt belong together, by SigLIP 2 (Tschannen et al. 2025); Apache-2.0, 4.5 GB.

    exp(logit_scale) cosine + logit_bias; its sigmoid, in `info`, is flat where pictures fit badly, the score is not.
    """

    model: str = option(
        "google/siglip2-so400m-patch14-384", "a SiglipModel: a folder saved by transformers, or a hub name"
    )

    kind: ClassVar[str] = "SiglipModel"
    model_type: ClassVar[str] = "siglip"

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        lower = [prompt.lower() for prompt in prompts]  # as in training; not every version's tokenizer does it
        model = self.encoders.model
        scale, bias = (value.double().to(images.device) for value in (model.logit_scale.exp(), model.logit_bias))
        logits = scale * self.encoders.cosines(images, lower) + bias
        info = {"probability": logits.detach().sigmoid().tolist(), "tokens_cut": self.encoders.tokens_cut(lower)}
        return RewardOutput(logits, info)
