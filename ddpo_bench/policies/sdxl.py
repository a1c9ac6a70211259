"""Stable Diffusion XL (Podell et al. 2023) as a policy: any StableDiffusionXLPipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy, paired
from ddpo_bench.policies.latent_size import vae_factor
from ddpo_bench.policies.pipeline_folder import CLIP_TOKENIZER, SCHEDULER, Layout
from ddpo_bench.policies.stored_pipeline import LARGEST_SIDE, Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.policies.unet_folder import unet_mistakes
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

TOKENS = 77
CONDITIONS = {"addition_embed_type": "text_time"}  # of the UNet: a pooled text embedding, and sizes


@register("policy", "sdxl")
@dataclass
class StableDiffusionXL(DiffusersPolicy):
    """Stable Diffusion XL, with classifier-free guidance as part of the policy."""

    model: str = option(MISSING, "a folder saved by StableDiffusionXLPipeline, or a hub name")
    original_size: tuple[int, ...] | None = option(
        None,
        "height and width that an image is said to have had; null is its own",
        minimum=1,
        maximum=LARGEST_SIDE,
        unit="pixels",
    )
    crops_coords_top_left: tuple[int, ...] = option(
        (0, 0), "top and left of the crop that an image is said to be", minimum=0, maximum=LARGEST_SIDE, unit="pixels"
    )
    target_size: tuple[int, ...] | None = option(
        None,
        "height and width that an image is said to have; null is its own",
        minimum=1,
        maximum=LARGEST_SIDE,
        unit="pixels",
    )

    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusionXLPipeline",
        meant="Stable Diffusion XL, text to image",
        parts={
            "unet": ("UNet2DConditionModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "tokenizer": CLIP_TOKENIZER,
            "tokenizer_2": CLIP_TOKENIZER,
        },
    )

    def __post_init__(self) -> None:
        for key in ("original_size", "crops_coords_top_left", "target_size"):
            if (value := getattr(self, key)) is not None and len(value) != 2:
                raise ValueError(f"{key} must be two numbers, as in [1024, 1024], got {list(value)}.")

    def embed(self, prompt: str) -> Conditioning:
        """Text embeddings of a prompt, [1, L, D], and of the second encoder a pooled one, [1, P], for critics too."""
        texts, empty_texts, pooled, empty_pooled = self.pipeline.encode_prompt(
            prompt, device=self.device, do_classifier_free_guidance=self.guided
        )
        empty = {"texts": empty_texts, "pooled": empty_pooled} if self.guided else {}
        return Conditioning(paired({"texts": texts, "pooled": pooled}, empty), pooled.float())

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        added = {"text_embeds": tensors["pooled"], "time_ids": self.sizes(x_t)}
        output: Tensor = network(
            x_t, timesteps, encoder_hidden_states=tensors["texts"], added_cond_kwargs=added, return_dict=False
        )[0]
        return output

    def sizes(self, x_t: Tensor) -> Tensor:
        """The micro-conditioning [B, 6]: original size, corner of the crop and target size."""
        own = tuple(self.pixels * side for side in x_t.shape[2:])
        numbers = (*(self.original_size or own), *self.crops_coords_top_left, *(self.target_size or own))
        made = x_t.new_empty(len(x_t), len(numbers))
        for column, number in enumerate(numbers):
            made[:, column] = number  # filled on its device: a tensor of a list would wait for the host
        return made

    @property
    def pixels(self) -> int:
        """To a latent, along one side."""
        configs = {"vae": self.pipeline.vae.config} if hasattr(self, "pipeline") else self.configs()
        assert configs is not None  # of a model whose passes are counted
        return vae_factor(configs["vae"])

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        text = configs["text_encoder"]
        return {
            "texts": (text.get("max_position_embeddings", TOKENS), configs["unet"].get("cross_attention_dim", 2048)),
            "pooled": (configs["text_encoder_2"].get("projection_dim", 1280),),
        }

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        read_json(folder / SCHEDULER)
        encoders = [read_json(folder / part / "config.json") for part in ("text_encoder", "text_encoder_2")]
        yield from unet_mistakes(folder, sum(text.get("hidden_size", 512) for text in encoders), CONDITIONS)
