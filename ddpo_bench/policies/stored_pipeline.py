"""A pipeline in a local folder or on the hub as what is known of it before it is loaded: mistakes, inputs, sizes."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from ddpo_bench.architectures.build import build
from ddpo_bench.architectures.published import of_hub_model
from ddpo_bench.embedded import EMBEDDED
from ddpo_bench.fingerprints import Inputs, hashes
from ddpo_bench.options import option
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.architecture import architecture_mistakes
from ddpo_bench.policies.latent_size import latent_sides, sides, size_mistake, vae_channels, vae_factor
from ddpo_bench.policies.lora_start import start_mistakes
from ddpo_bench.policies.pipeline_folder import (
    SCHEDULER,
    Layout,
    damaged,
    local_folder,
    model_path,
    place_mistakes,
    read_files,
    too_old,
)
from ddpo_bench.policies.precision import resolve_precision
from ddpo_bench.policies.prompt_length import is_longer
from ddpo_bench.policies.stored_lora import NotLora, lora_file, read_lora
from ddpo_bench.policies.stored_weights import NotReadable, part_shapes, read_json
from ddpo_bench.policies.wrong_folder import layout_mistakes
from ddpo_bench.protocols import Footprint, Policy

FP32, BF16 = 4, 2  # bytes
LARGEST_SIDE = 8192  # pixels
Configs = Mapping[str, Mapping[str, Any]]  # by part


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
    height: int | None = option(
        None, "height of images; null is the model's own", minimum=1, maximum=LARGEST_SIDE, unit="pixels"
    )
    width: int | None = option(
        None, "width of images; null is the model's own", minimum=1, maximum=LARGEST_SIDE, unit="pixels"
    )
    revision: str | None = option(None, "branch, tag or commit of a hub model; null is its main branch")
    variant: str | None = option(
        None, "weights to load where the model has several, such as fp16; null is those of no variant"
    )

    layout: ClassVar[Layout]

    def folder_mistakes(self, folder: Path) -> Iterable[str]:
        """What keeps this family from training a folder of its layout, each with its remedy."""
        return ()

    def scheduler_config_of(self, folder: Path) -> dict[str, Any]:
        """The scheduler's configuration as the family's pipeline reads it."""
        return read_json(folder / SCHEDULER)

    def own_sides(self, configs: Configs) -> tuple[int, int]:
        """Height and width of the latents that the model was trained on."""
        both = sides(configs[self.layout.trained]["sample_size"])
        assert both is not None  # in a sound folder
        return both

    def patch_size(self, configs: Configs) -> int:
        """Latents to a token of the network, along one side: latents are a multiple of it."""
        return 1

    def latent_shape_of(self, configs: Configs) -> tuple[int, int, int]:
        """C, H, W."""
        vae = configs["vae"]
        both = latent_sides(self.own_sides(configs), self.height, self.width, vae_factor(vae))
        return vae_channels(vae), *both

    def size_mistakes(self, configs: Configs) -> list[str]:
        """What is wrong with the height and width of images."""
        multiple = vae_factor(configs["vae"]) * self.patch_size(configs)
        found = [size_mistake(key, getattr(self, key), multiple) for key in ("height", "width")]
        return [mistake for mistake in found if mistake]

    def reader(self, layout: Layout) -> tuple[str, int | None]:
        """The tokenizer of the text encoder that reads furthest, and how many tokens that is; None for its own limit.

        Args:
            layout: of a folder: without the parts that it leaves out.
        """
        return layout.tokenizers[0], None

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        """Shapes of one sample's conditioning without guidance, by name."""
        return {}

    def pooled_numbers(self, configs: Configs) -> int:
        """Length of the pooled vector that critics are given."""
        return self.conditioning_shapes(configs).get("pooled", (0,))[0]

    def conditioning_numbers(self, configs: Configs) -> int:
        """Numbers in one sample's conditioning."""
        once = sum(map(math.prod, self.conditioning_shapes(configs).values()))
        return once * (1 + self.guided) + self.pooled_numbers(configs)

    @property
    def guided(self) -> bool:
        return self.guidance_scale != 1.0

    def mistakes(self) -> list[str]:
        """What would keep `start` from loading the model, as far as can be told without loading it."""
        if old := too_old(self.layout):
            return [old]
        folder = self.local_folder()
        return self.named(place_mistakes(self.model, self.layout)) or (self.sound(folder) if folder else [])

    def architecture_mistakes(self) -> list[str]:
        folder = self.local_folder()
        wrong = [] if folder is None or self.model in EMBEDDED else self.folder_architecture_mistakes(folder)
        return wrong or self.start_mistakes()

    def folder_architecture_mistakes(self, folder: Path) -> list[str]:
        return self.named(architecture_mistakes(folder, self.layout.of(folder), self.variant))

    def start_mistakes(self) -> list[str]:
        """What keeps the LoRA of `adapter.from` from being the start of this policy's."""
        if not self.adapter.from_ or (configs := self.configs()) is None:
            return []
        try:
            lora = read_lora(self.adapter.from_, self.layout, configs[self.layout.trained])
        except NotLora as error:
            return [f"policy.adapter.from: {self.adapter.from_} {error}"]
        return list(start_mistakes(lora, self.adapter, self.weight_shapes(self.layout.trained)))

    def sound(self, folder: Path) -> list[str]:
        """What is wrong with a folder, or with the options for it."""
        try:
            wrong = layout_mistakes(folder, self.layout, self.variant)
            if not wrong and self.model not in EMBEDDED:
                wrong = [*self.folder_mistakes(folder), *damaged(folder, self.layout.of(folder), self.variant)]
            return self.named(wrong) or self.option_mistakes(folder)
        except NotReadable as error:
            return self.named([str(error)])

    def option_mistakes(self, folder: Path) -> list[str]:
        """Options that do not go with a sound folder."""
        weights = self.weight_shapes(self.layout.trained) if self.adapter.name == "lora" else []
        return [*self.size_mistakes(self.configs_of(folder)), *self.adapter.mistakes(weights)]

    def named(self, mistakes: Iterable[str]) -> list[str]:
        return [f"policy.model: {mistake}" for mistake in mistakes]

    def local_folder(self) -> Path | None:
        return local_folder(self.model, self.layout, self.revision, self.variant)

    def inputs(self) -> Inputs:
        """The files of a local pipeline, and of the LoRA that is the start; a hub model is known by its name alone."""
        folder, found = model_path(self.model), {}
        if folder.is_dir():
            found["model"] = hashes(folder, read_files(folder, self.layout))
        if self.adapter.from_:
            with contextlib.suppress(NotLora):  # of which `mistakes` tells
                file = lora_file(self.adapter.from_)
                found["adapter.from"] = hashes(file.parent, [file])
        return found

    def stored_scheduler_config(self) -> dict[str, Any] | None:
        """The scheduler's configuration of a model without mistakes; None where it has not been downloaded yet."""
        folder = self.local_folder()
        return self.scheduler_config_of(folder) if folder else None

    def too_long(self, prompts: Iterable[str]) -> list[str]:
        if (folder := self.local_folder()) is None:
            return []
        tokenizer, limit = self.reader(self.layout.of(folder))
        return [prompt for prompt in prompts if is_longer(prompt, folder / tokenizer, limit)]

    def configs(self) -> Configs | None:
        """The parts' configurations: the folder's or, where it is not here, those of a published architecture."""
        if folder := self.local_folder():
            return self.configs_of(folder)
        known = of_hub_model(self.model)
        return known.parts if known and {*self.layout.networks} <= {*known.parts} else None

    def configs_of(self, folder: Path) -> Configs:
        return {part: read_json(folder / part / "config.json") for part in self.layout.of(folder).networks}

    def weight_shapes(self, part: str) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of a part's weights, by the headers of their files or the published architecture."""
        if folder := self.local_folder():
            stored = part_shapes(folder, part, self.variant)
            return [(name, tuple(shape)) for name, shape in stored.items() if name not in self.layout.buffers]
        known = of_hub_model(self.model)
        weights = build(known, part, "meta").named_parameters() if known else ()
        return [(name, tuple(weight.shape)) for name, weight in weights]

    def footprint(self, device: torch.device) -> Footprint | None:
        """Counted without loading a model; None where it is not here and not a known one."""
        configs = self.configs()
        if configs is None:
            return None
        half = resolve_precision(self.precision, device) is torch.bfloat16
        network, *others = (self.weight_shapes(part) for part in configs)
        numbers, *frozen = (sum(math.prod(shape) for _, shape in part) for part in (network, *others))
        trained, weights = numbers, numbers * (2 * FP32 + BF16 * half)  # the trained and the pretrained, and autocast's
        if self.adapter.name == "lora":
            trained = self.adapter.numbers(network)
            weights = numbers * (BF16 if half else FP32) + trained * FP32 * (2 if self.adapter.from_ else 1)
        latents = math.prod(self.latent_shape_of(configs))
        text = self.conditioning_numbers(configs) * (BF16 if half else FP32)
        sizes = [BF16 if half and part in self.layout.large else FP32 for part in list(configs)[1:]]
        present = sum(map(operator.mul, frozen, sizes))  # on a GPU they give way to the activations of learning
        return Footprint(trained, weights + present * (device.type == "cpu"), latents * FP32, text)
