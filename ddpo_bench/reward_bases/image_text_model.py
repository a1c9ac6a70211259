"""A model of transformers that embeds images and texts in one space, CLIP or SigLIP, as learned rewards use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.frozen_model import load_part
from ddpo_bench.reward_bases.image_preparation import ImagePreparation, preparation
from ddpo_bench.reward_bases.model_files import one_line


class ImageTextModel:
    """A model in fp32 whose weights are frozen, and through which gradients flow to the images.

    Args:
        model: a CLIPModel or SiglipModel.
        processor: folder of its tokenizer and image processor.
        device: where it runs.
        batch_size: images or texts at a time.
    Raises:
        RewardError: where the folder is not what it must be, in one line.
    """

    def __init__(self, model: Any, processor: Path, device: torch.device, batch_size: int):
        self.model, self.device, self.batch_size = model, device, batch_size
        self.tokenizer = load_part("AutoTokenizer", processor)
        self.prepare: Any = prepare_by(processor)  # hpsv2 sets another kind
        self.longest = model.config.text_config.max_position_embeddings
        reads_mask = model.config.model_type == "clip"  # SigLIP was trained to attend to its padding
        self.text_inputs = ["input_ids", "attention_mask"] if reads_mask else ["input_ids"]

    def images(self, images: Tensor) -> Tensor:
        """Embeddings [N, D] of images [N, 3, H, W] in [0, 1], float64 of length 1."""
        parts = images.to(self.device).split(self.batch_size)
        return unit(torch.cat([pooled(self.model.get_image_features(self.prepare(part))) for part in parts]))

    @torch.no_grad()
    def texts(self, prompts: list[str]) -> Tensor:
        """Embeddings [N, D] of prompts, float64 of length 1; what is beyond the model's length is cut off.

        Nothing is kept for the next call: embeddings differ in their last bits with the batch, and a resumed run must
        repeat the numbers of one that was never stopped.
        """
        different = list(dict.fromkeys(prompts))
        read = self.tokenizer(
            different, padding="max_length", truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        given = {name: read[name].split(self.batch_size) for name in self.text_inputs}
        parts = [dict(zip(given, part, strict=True)) for part in zip(*given.values(), strict=True)]
        embeddings = torch.cat([pooled(self.model.get_text_features(**part)) for part in parts])
        return unit(embeddings)[[different.index(prompt) for prompt in prompts]]

    def cosines(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Cosine [N] of each image's embedding and that of its prompt, float64, on the images' device."""
        return (self.images(images) * self.texts(prompts)).sum(dim=1).to(images.device)

    def tokens_cut(self, prompts: list[str]) -> list[int]:
        """How many tokens of each prompt the model does not read."""
        read = self.tokenizer(prompts, verbose=False)["input_ids"]
        return [max(0, len(tokens) - self.longest) for tokens in read]


def pooled(features: Any) -> Tensor:
    """The embeddings that `get_image_features` returns: bare before transformers 5, in an output object since."""
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found


def unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.double(), dim=-1)


def prepare_by(folder: Path) -> ImagePreparation:
    """The preparation of images that a folder's image processor stands for."""
    try:
        return preparation(load_part("AutoImageProcessor", folder).to_dict())
    except (ValueError, LookupError, TypeError) as error:  # other settings than those of CLIP and SigLIP
        raise RewardError(f"{folder}: {one_line(error)}") from error
