"""Stable Diffusion 1.x and 2.x, and the embedded model, as a policy: any StableDiffusionPipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy, paired
from ddpo_bench.policies.pipeline_folder import CLIP_TOKENIZER, SCHEDULER, Layout
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.policies.unet_folder import unet_mistakes
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

TOKENS, HIDDEN_SIZE = 77, 512  # of a text encoder whose configuration leaves them out


@register("policy", "stable_diffusion")
@dataclass
class StableDiffusion(DiffusersPolicy):
    """Stable Diffusion 1.x, 2.x or the embedded model, with classifier-free guidance as part of the policy."""

    model: str = option("embedded", "embedded, a folder saved by StableDiffusionPipeline, or a hub name")

    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusionPipeline",
        meant="Stable Diffusion 1.x or 2.x, text to image",
        parts={
            "unet": ("UNet2DConditionModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": ("CLIPTextModel",),
            "tokenizer": CLIP_TOKENIZER,
        },
    )
    without: ClassVar[dict[str, Any]] = {"scheduler": None, "safety_checker": None, "requires_safety_checker": False}

    def embed(self, prompt: str) -> Conditioning:
        """Text embeddings of a prompt, [1, L, D], and of the empty prompt under guidance; pooled is their mean."""
        embeddings, unconditional = self.pipeline.encode_prompt(prompt, self.device, 1, self.guided)
        empty = {"embeddings": unconditional} if self.guided else {}
        return Conditioning(paired({"embeddings": embeddings}, empty), embeddings.float().mean(1))

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        output: Tensor = network(x_t, timesteps, encoder_hidden_states=tensors["embeddings"]).sample
        return output

    def scheduler_config_of(self, folder: Path) -> dict[str, Any]:
        """As StableDiffusionPipeline reads it: it counts timesteps from 1 and never clips, whatever the file says."""
        return read_json(folder / SCHEDULER) | {"steps_offset": 1, "clip_sample": False}

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        text = configs["text_encoder"]
        return {"embeddings": (text.get("max_position_embeddings", TOKENS), text.get("hidden_size", HIDDEN_SIZE))}

    def pooled_numbers(self, configs: Configs) -> int:
        return self.conditioning_shapes(configs)["embeddings"][1]

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        read_json(folder / SCHEDULER)
        text = read_json(folder / "text_encoder" / "config.json")
        return unet_mistakes(folder, text.get("hidden_size", HIDDEN_SIZE), {})
