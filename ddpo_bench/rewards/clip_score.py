"""How well a picture fits its prompt, by CLIP."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.learned import LearnedReward


@register("reward", "clip_score")
@dataclass
class ClipScore(LearnedReward):
    """Cosine, -1 to 1, of CLIP's embeddings of the picture and of its prompt (Radford et al. 2021); MIT, 1.7 GB."""

    model: str = option("openai/clip-vit-large-patch14", "a CLIPModel: a folder saved by transformers, or a hub name")

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        cosines = self.encoders.cosines(images, prompts)
        return RewardOutput(cosines, {"tokens_cut": self.encoders.tokens_cut(prompts)})
