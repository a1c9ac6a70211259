"""Which picture people prefer for a prompt, by the Human Preference Score v2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.frozen_model import model_of
from ddpo_bench.reward_bases.image_text_model import ImageTextModel
from ddpo_bench.reward_bases.learned import LearnedRewardWithProcessor
from ddpo_bench.reward_bases.model_files import SETTINGS, file_of, folder_of, one_line, place_mistake
from ddpo_bench.reward_bases.open_clip_weights import clip_weights
from ddpo_bench.reward_bases.tensor_files import read_tensors

FILES = {"v2.0": "HPS_v2_compressed", "v2.1": "HPS_v2.1_compressed"}


@register("reward", "hpsv2")
@dataclass
class HPSv2(LearnedRewardWithProcessor):
    """Preference, about 0.2 to 0.35: cosine of open_clip's ViT-H-14 tuned on choices of people; Apache-2.0, 3.9 GB.

    Wu et al. (2023).  The file of weights has half of the size, in fp16.  It needs no open_clip: its weights become
    those of a CLIPModel.
    """

    model: str = option(
        "xswu/HPSv2", "open_clip's weights: a .pt or .safetensors file, a folder with those of `weights`, or a hub name"
    )
    processor: str = option(
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        "folder or hub name of its configuration, tokenizer and colour statistics",
    )
    weights: Literal["v2.0", "v2.1"] = option("v2.1", "which weights of a folder or a hub model")

    model_type: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if mistake := place_mistake(self.processor, "clip"):
            raise ValueError(f"processor: {mistake}")

    def files(self) -> list[str]:
        return [f"{FILES[self.weights]}.{ending}" for ending in ("safetensors", "pt")]

    def load(self, device: torch.device) -> None:
        from transformers import CLIPConfig

        file = file_of(self.model, self.revision, self.files())
        folder = folder_of(self.processor, None, SETTINGS)
        try:
            config, weights = CLIPConfig.from_pretrained(folder), clip_weights(read_tensors(file))
        except Exception as error:  # of safetensors, or of torch for a pickle that holds more than tensors
            raise RewardError(f"no weights could be read from {file}: {one_line(error)}") from error
        model = model_of("CLIPModel", config, weights, file, device)
        self.encoders = ImageTextModel(model, folder, device, self.batch_size)
        colours = self.encoders.prepare
        self.encoders.prepare = PaddedPreparation(config.vision_config.image_size, colours.mean, colours.std)

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        cosines = self.encoders.cosines(images, prompts)
        return RewardOutput(cosines, {"tokens_cut": self.encoders.tokens_cut(prompts)})


@dataclass(frozen=True)
class PaddedPreparation:
    """Resizes the longer side and pads the other with black, as HPSv2's own preprocessing does: nothing is cropped.

    That resizes tensors, so that nothing is rounded to 8 bits or cut off at 0 and 1 here either; with antialiasing,
    which torchvision uses for tensors since 0.17.

    Attributes:
        side: height and width of what the model sees.
        mean, std: of each colour channel, for images in [0, 1].
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1] to [N, 3, side, side], float32."""
        scale = self.side / max(images.shape[-2:])
        size = [round(pixels * scale) for pixels in images.shape[-2:]]
        resized = F.interpolate(images.float(), size, mode="bicubic", antialias=True, align_corners=False)
        rows, columns = (self.side - pixels for pixels in size)
        padded = F.pad(resized, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        mean, std = (torch.tensor(values, device=padded.device)[:, None, None] for values in (self.mean, self.std))
        return (padded - mean) / std
