"""Which picture people prefer for a prompt, by ImageReward."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.frozen_model import load_part, model_of
from ddpo_bench.reward_bases.image_preparation import ImagePreparation
from ddpo_bench.reward_bases.image_reward_weights import Network, text_network, vision_network
from ddpo_bench.reward_bases.learned import LearnedRewardWithProcessor
from ddpo_bench.reward_bases.linear_layers import Layers, applied, layers_of
from ddpo_bench.reward_bases.model_files import SETTINGS, file_of, folder_of, one_line
from ddpo_bench.reward_bases.tensor_files import read_tensors

TOKENS = 35  # of a prompt, with its start and its end
COLOURS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # mean and std, as CLIP has them
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the head's numbers


@register("reward", "image_reward")
@dataclass
class ImageReward(LearnedRewardWithProcessor):
    """Preference, about -2 to 2: BLIP ViT-L whose text encoder reads prompt and picture; Apache-2.0, 1.8 GB.

    Xu et al. (2023).  The mean is 0 and the standard deviation 1 over pictures of real prompts.
    """

    model: str = option(
        "THUDM/ImageReward", "its weights: a .pt or .safetensors file, a folder with ImageReward.pt, or a hub name"
    )
    processor: str = option("google-bert/bert-base-uncased", "folder or hub name of BERT's tokenizer")
    vision: Any = field(init=False, repr=False, compare=False)
    text: Any = field(init=False, repr=False, compare=False)
    head: Layers = field(init=False, repr=False, compare=False)
    tokenizer: Any = field(init=False, repr=False, compare=False)
    prepare: ImagePreparation = field(init=False, repr=False, compare=False)

    model_type: ClassVar[str | None] = None

    def files(self) -> list[str]:
        return ["ImageReward.safetensors", "ImageReward.pt"]

    def load(self, device: torch.device) -> None:
        from transformers import BlipTextConfig, BlipVisionConfig

        file = file_of(self.model, self.revision, self.files())
        self.tokenizer = load_part("AutoTokenizer", folder_of(self.processor, None, SETTINGS))
        vision, text, head = parts_of(file)
        self.vision = model_of(vision.kind, BlipVisionConfig(**vision.config), vision.weights, file, device)
        no_pooler = {"add_pooling_layer": False}
        self.text = model_of(text.kind, BlipTextConfig(**text.config), text.weights, file, device, no_pooler)
        self.head = [(weight.to(device), bias.to(device)) for weight, bias in head]
        side = vision.config["image_size"]
        self.prepare = ImagePreparation(side, (side, side), "bicubic", *COLOURS)

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        device = self.head[0][0].device
        read = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).to(device)
        given = images.to(device), read["input_ids"], read["attention_mask"]
        parts = zip(*(whole.split(self.batch_size) for whole in given), strict=True)
        numbers = torch.cat([applied(self.head, self.features(*part)) for part in parts])
        lengths = map(len, self.tokenizer(prompts, verbose=False)["input_ids"])
        cut = [max(0, length - TOKENS) for length in lengths]
        return RewardOutput(((numbers - MEAN) / STD).to(images.device), {"tokens_cut": cut})

    def features(self, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """What the text encoder makes of the start of each prompt, [N, D] float64."""
        seen = self.vision(self.prepare(images)).last_hidden_state
        read = self.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=seen)
        features: Tensor = read.last_hidden_state[:, 0].double()
        return features


def parts_of(file: Path) -> tuple[Network, Network, Layers]:
    try:
        tensors = read_tensors(file)
        head = layers_of({name: tensor for name, tensor in tensors.items() if name.startswith("mlp.")})
        return vision_network(tensors), text_network(tensors), head
    except Exception as error:  # of safetensors, of torch for a pickle, or a tensor that is not there
        raise RewardError(f"no ImageReward could be read from {file}: {one_line(error)}") from error
