"""A pipeline in a local folder or on the hub as what is known of it before it is loaded: mistakes, inputs, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from ddpo_bench.architectures.build import build
from ddpo_bench.architectures.published import of_hub_model
from ddpo_bench.fingerprints import Inputs, hashes
from ddpo_bench.options import option
from ddpo_bench.policies.architecture import architecture_mistakes
from ddpo_bench.policies.pipeline_folder import (
    SCHEDULER,
    Layout,
    damaged,
    latent_shape,
    layout_mistakes,
    local_folder,
    model_path,
    place_mistakes,
    read_files,
)
from ddpo_bench.policies.precision import resolve_precision
from ddpo_bench.policies.prompt_length import is_longer
from ddpo_bench.policies.stored_weights import NotReadable, part_shapes, read_json
from ddpo_bench.protocols import Footprint, Policy

ATTENTION_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
FP32, BF16 = 4, 2  # bytes
Configs = Mapping[str, Mapping[str, Any]]  # by part


@dataclass(frozen=True)
class Adapter:
    """What of the network is trained."""

    name: Literal["full", "lora"] = option(
        "full", "what is trained: every weight, or low-rank updates of the attention projections"
    )
    rank: int = option(4, "rank of the LoRA matrices", minimum=1, maximum=4096)


@dataclass
class StoredPipeline(Policy):
    """The options of a diffusers pipeline as a policy, and what they mean for the model's files.

    A family sets `layout`, and says more of its folders where it must.
    """

    model: str = option(MISSING, "a folder saved by diffusers, or a hub name")
    adapter: Adapter = option(Adapter(), "what of the network is trained")
    guidance_scale: float = option(
        1.0, "scale of classifier-free guidance, in sampling and in learning; 1.0 turns it off", minimum=0, maximum=100
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "precision of the network; weights and transition laws stay fp32; auto is bf16 where that is native"
    )

    layout: ClassVar[Layout]

    def folder_mistakes(self, folder: Path) -> Iterable[str]:
        """What keeps this family from training a folder of its layout, each with its remedy."""
        return ()

    def scheduler_config_of(self, folder: Path) -> dict[str, Any]:
        """The scheduler's configuration as the family's pipeline reads it."""
        return read_json(folder / SCHEDULER)

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        """Shapes of one sample's conditioning without guidance, by name."""
        return {}

    def conditioning_numbers(self, configs: Configs) -> int:
        """Numbers in one sample's conditioning."""
        return 0

    def mistakes(self) -> list[str]:
        """What would keep `start` from loading the model, as far as can be told without loading it."""
        if self.model == "embedded":
            return []
        folder = self.local_folder()
        return self.named(place_mistakes(self.model, self.layout) or (self.sound(folder) if folder else []))

    def architecture_mistakes(self) -> list[str]:
        folder = None if self.model == "embedded" else self.local_folder()
        return self.named(architecture_mistakes(folder, self.layout)) if folder else []

    def sound(self, folder: Path) -> list[str]:
        """What is wrong with a folder."""
        try:
            return layout_mistakes(folder, self.layout) or [
                *self.folder_mistakes(folder),
                *damaged(folder, self.layout),
            ]
        except NotReadable as error:
            return [str(error)]

    def named(self, mistakes: Iterable[str]) -> list[str]:
        return [f"policy.model: {mistake}" for mistake in mistakes]

    def local_folder(self) -> Path | None:
        return local_folder(self.model, self.layout)

    def inputs(self) -> Inputs:
        """The files of a local pipeline; a hub model is known by its name alone."""
        folder = model_path(self.model)
        return {"model": hashes(folder, read_files(folder, self.layout))} if folder.is_dir() else {}

    def stored_scheduler_config(self) -> dict[str, Any] | None:
        """The scheduler's configuration of a model without mistakes; None where it has not been downloaded yet."""
        folder = self.local_folder()
        return self.scheduler_config_of(folder) if folder else None

    def too_long(self, prompts: Iterable[str]) -> list[str]:
        folder = self.local_folder()
        return [prompt for prompt in prompts if folder and is_longer(prompt, folder / self.layout.tokenizers[0])]

    def configs(self) -> Configs | None:
        """The parts' configurations: the folder's or, where it is not here, those of a published architecture."""
        if folder := self.local_folder():
            return {part: read_json(folder / part / "config.json") for part in self.layout.networks}
        known = of_hub_model(self.model)
        return known.parts if known and {*self.layout.networks} <= {*known.parts} else None

    def weight_shapes(self, part: str) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of a part's weights, by the headers of their files or the published architecture."""
        if folder := self.local_folder():
            return [(name, tuple(shape)) for name, shape in part_shapes(folder, part).items()]
        known = of_hub_model(self.model)
        weights = build(known, part, "meta").named_parameters() if known else ()
        return [(name, tuple(weight.shape)) for name, weight in weights]

    def footprint(self, device: torch.device) -> Footprint | None:
        """Counted without loading a model; None where it is not here and not a known one."""
        configs = self.configs()
        if configs is None:
            return None
        half = resolve_precision(self.precision, device) is torch.bfloat16
        network, *others = (self.weight_shapes(part) for part in self.layout.networks)
        numbers, *frozen = (sum(math.prod(shape) for _, shape in part) for part in (network, *others))
        trained, weights = numbers, numbers * (2 * FP32 + BF16 * half)  # the trained and the pretrained, and autocast's
        if self.adapter.name == "lora":
            adapted = [shape for name, shape in network if name.removesuffix(".weight").endswith(ATTENTION_PROJECTIONS)]
            trained = self.adapter.rank * sum(map(sum, adapted))
            weights = numbers * (BF16 if half else FP32) + trained * FP32
        latents = math.prod(latent_shape(configs[self.layout.trained]))
        text = self.conditioning_numbers(configs) * (BF16 if half else FP32)
        present = sum(frozen) if device.type == "cpu" else 0  # on a GPU they give way to the activations of learning
        return Footprint(trained, weights + present * FP32, latents * FP32, text)
