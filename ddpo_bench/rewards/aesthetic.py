"""How good a picture looks, whatever it shows, by LAION's aesthetic predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.learned import LearnedReward
from ddpo_bench.reward_bases.linear_layers import LAYER, Layers, applied, layers_of
from ddpo_bench.reward_bases.model_files import folder_of, input_hashes, one_line, place_mistake
from ddpo_bench.reward_bases.tensor_files import read_tensors


@register("reward", "aesthetic")
@dataclass
class Aesthetic(LearnedReward):
    """Aesthetic rating, about 1 to 10, by LAION's predictor on CLIP ViT-L/14; MIT and Apache-2.0, 1.7 GB.

    Schuhmann et al. (2022), sac+logos+ava1-l14-linearMSE: five layers, with nothing but dropout between them, on the
    embedding of length 1.  It sees no prompt.
    """

    model: str = option("openai/clip-vit-large-patch14", "a CLIPModel: a folder saved by transformers, or a hub name")
    head: str = option(
        "ttj/sac-logos-ava1-l14-linearMSE",
        "the layers on its embeddings: a .safetensors or .pth file, a folder with one, or a hub name",
    )
    layers: Layers = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if mistake := place_mistake(self.head):
            raise ValueError(f"head: {mistake}")

    def inputs(self) -> Inputs:
        found = input_hashes(self.head, ["*.safetensors", "*.pth"])
        return super().inputs() | ({"head": found} if found else {})

    def load(self, device: torch.device) -> None:
        super().load(device)
        del self.encoders.model.text_model  # a quarter of the weights, which nothing reads
        path = folder_of(self.head, None, ["*.safetensors"])  # nothing is unpickled from the network
        self.layers = [(weight.to(device), bias.to(device)) for weight, bias in read_layers(head_file(path))]
        width, read = self.encoders.model.config.projection_dim, self.layers[0][0].shape[1]
        if width != read:
            raise RewardError(f"head: its first layer reads embeddings of {read} numbers; the model's have {width}.")

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        return RewardOutput(applied(self.layers, self.encoders.images(images)).to(images.device))


def head_file(path: Path) -> Path:
    """The file itself or, of a folder, its one file of weights; safetensors are preferred."""
    if path.is_file():
        return path
    for ending in ("safetensors", "pth"):
        if found := sorted(path.glob(f"*.{ending}")):
            if len(found) == 1:
                return found[0]
            raise RewardError(f"head: {path} holds {len(found)} .{ending} files. Give the path of one.")
    raise RewardError(f"head: {path} holds neither a .safetensors nor a .pth file.")


def read_layers(file: Path) -> Layers:
    try:
        return layers_of(read_tensors(file, LAYER.fullmatch))  # some files hold CLIP too
    except Exception as error:  # of safetensors, or of torch for a pickle that holds more than tensors
        raise RewardError(f"head: no layers could be read from {file}: {one_line(error)}") from error
