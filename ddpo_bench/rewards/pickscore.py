"""Which picture people prefer for a prompt, by PickScore."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.rewards.learned import LearnedReward
from ddpo_bench.rewards.model_files import SETTINGS, input_hashes, place_mistake


@register("reward", "pickscore")
@dataclass
class PickScore(LearnedReward):
    """Preference, about 18 to 26: exp(logit_scale) cosine of a CLIP ViT-H tuned on choices of people; MIT, 3.9 GB.

    Kirstain et al. (2023).  A difference of 1 between two pictures of a prompt is odds of e that the better is chosen.
    """

    model: str = option("yuvalkirstain/PickScore_v1", "a CLIPModel: a folder saved by transformers, or a hub name")
    processor: str = option(
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "folder or hub name of its tokenizer and image processor"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if mistake := place_mistake(self.processor):
            raise ValueError(f"processor: {mistake}")

    def processor_name(self) -> str:
        return self.processor

    def inputs(self) -> Inputs:
        found = input_hashes(self.processor, SETTINGS)
        return super().inputs() | ({"processor": found} if found else {})

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        scale = self.encoders.model.logit_scale.double().exp().to(images.device)
        cosines = self.encoders.cosines(images, prompts)
        return RewardOutput(scale * cosines, {"tokens_cut": self.encoders.tokens_cut(prompts)})
