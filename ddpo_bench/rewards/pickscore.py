"""Which picture people prefer for a prompt, by PickScore."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.learned import LearnedRewardWithProcessor


@register("reward", "pickscore")
@dataclass
class PickScore(LearnedRewardWithProcessor):
    """Preference, about 18 to 26: exp(logit_scale) cosine of a CLIP ViT-H tuned on choices of people; MIT, 3.9 GB.

    Kirstain et al. (2023).  A difference of 1 between two pictures of a prompt is odds of e that the better is chosen.
    """

    model: str = option("yuvalkirstain/PickScore_v1", "a CLIPModel: a folder saved by transformers, or a hub name")

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        scale = self.encoders.model.logit_scale.double().exp().to(images.device)
        cosines = self.encoders.cosines(images, prompts)
        return RewardOutput(scale * cosines, {"tokens_cut": self.encoders.tokens_cut(prompts)})
