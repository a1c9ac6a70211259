"""The base of rewards that are a model of images and texts: their options, files and loading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field
from typing import ClassVar, Literal

import torch

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Reward
from ddpo_bench.registry import label
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.frozen_model import load_model
from ddpo_bench.reward_bases.image_text_model import ImageTextModel
from ddpo_bench.reward_bases.model_files import SETTINGS, WEIGHTS, folder_of, input_hashes, lacking, place_mistake


@dataclass
class LearnedReward(Reward):
    """The options of a learned reward; a subclass gives `model` its default, and scores with `encoders`."""

    model: str = option(MISSING, "a folder saved by transformers, or a hub name")
    revision: str | None = option(None, "branch, tag or commit of a hub model; null is its main branch")
    device: str | None = option(
        None, "where the model runs, such as cuda:1 or cpu; null is where the policy runs", execution=True
    )
    batch_size: int = option(
        32, "images that the model is given at a time", minimum=1, maximum=LARGEST_COUNT, execution=True
    )
    offload: bool = option(
        False, "keeps the model in host memory while it scores nothing, such as while the policy learns", execution=True
    )
    encoders: ImageTextModel = field(init=False, repr=False, compare=False)

    differentiable: ClassVar[bool] = True
    waits_for: ClassVar[Literal["network", "gpu", "cpu"]] = "gpu"
    tolerance: ClassVar[float] = 1e-4  # fp32 networks round differently at another batch size
    kind: ClassVar[str] = "CLIPModel"  # the model's class in transformers
    model_type: ClassVar[str | None] = "clip"  # that its folder's config.json names; None where it needs none

    def __post_init__(self) -> None:
        if mistake := place_mistake(self.model, self.model_type) or lacking(self.model, self.files()):
            raise ValueError(f"model: {mistake}")
        try:
            torch.device(self.device or "cpu")
        except RuntimeError:
            raise ValueError(f"device: expected one such as cpu, cuda or cuda:1, got {self.device!r}.") from None

    def processor_name(self) -> str:
        """Folder or hub name of the tokenizer and the image processor."""
        return self.model

    def files(self) -> list[str]:
        """Patterns of the names of the files that are needed of `model`."""
        return [*SETTINGS, *WEIGHTS]

    def inputs(self) -> Inputs:
        """The files of local models; a hub model is known by its name and revision."""
        found = input_hashes(self.model, self.files())
        return {"model": found} if found else {}

    def start(self, device: torch.device) -> None:
        """Load the model, in fp32.

        Raises:
            RewardError: where it cannot be fetched or loaded, in one line.
        """
        try:
            self.placed = torch.device(self.device) if self.device else device
            self.load(self.placed)
        except RewardError as error:
            raise RewardError(f"reward {label('reward', self)}: {error}") from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        if self.offload:
            self.move(self.placed)
        yield
        if self.offload:
            self.move(torch.device("cpu"))

    def move(self, device: torch.device) -> None:
        """Move the networks; what else there is of a model is small."""
        for holder in (self, getattr(self, "encoders", None)):
            for part in vars(holder).values() if holder else ():
                if isinstance(part, torch.nn.Module):
                    part.to(device)

    def load(self, device: torch.device) -> None:
        folder = folder_of(self.model, self.revision, self.files())
        apart = self.processor_name() != self.model
        processor = folder_of(self.processor_name(), None, SETTINGS) if apart else folder
        model = load_model(self.kind, folder, device)
        self.encoders = ImageTextModel(model, processor, device, self.batch_size)


@dataclass
class LearnedRewardWithProcessor(LearnedReward):
    """A learned reward whose tokenizer and image processor are another model's."""

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
