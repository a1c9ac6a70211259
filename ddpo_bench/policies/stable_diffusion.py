"""Stable Diffusion 1.x and 2.x, and the embedded model, as a policy: any StableDiffusionPipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.policies.diffusers_policy import UNCONDITIONAL, DiffusersPolicy
from ddpo_bench.policies.pipeline_folder import SCHEDULER, Layout, sides
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

NOT_CONDITIONED_BY_TEXT_ALONE = {  # keys of the UNet's configuration and what they have where a prompt is all it needs
    "class_embed_type": None,
    "num_class_embeds": None,
    "addition_embed_type": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
    "attention_type": "default",
}
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
            "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
        },
    )
    without: ClassVar[dict[str, Any]] = {"scheduler": None, "safety_checker": None, "requires_safety_checker": False}

    def embed(self, prompt: str) -> Conditioning:
        """Text embeddings of a prompt, [1, L, D], and of the empty prompt under guidance; pooled is their mean."""
        embeddings, unconditional = self.pipeline.encode_prompt(prompt, self.device, 1, self.guided)
        tensors = {"embeddings": embeddings} | ({f"{UNCONDITIONAL}embeddings": unconditional} if self.guided else {})
        return Conditioning(tensors, embeddings.float().mean(1))

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        output: Tensor = network(x_t, timesteps, encoder_hidden_states=tensors["embeddings"]).sample
        return output

    def images(self, latents: Tensor) -> Tensor:
        images = self.pipeline.vae.decode(latents / self.pipeline.vae.config.scaling_factor).sample
        return (images.float() / 2 + 0.5).clamp(0, 1)

    def scheduler_config_of(self, folder: Path) -> dict[str, Any]:
        """As StableDiffusionPipeline reads it: it counts timesteps from 1 and never clips, whatever the file says."""
        return read_json(folder / SCHEDULER) | {"steps_offset": 1, "clip_sample": False}

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        text = configs["text_encoder"]
        return {"embeddings": (text.get("max_position_embeddings", TOKENS), text.get("hidden_size", HIDDEN_SIZE))}

    def conditioning_numbers(self, configs: Configs) -> int:
        tokens, width = self.conditioning_shapes(configs)["embeddings"]
        return tokens * width * (1 + self.guided) + width

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        return unet_mistakes(folder)


def unet_mistakes(folder: Path) -> Iterator[str]:
    """A UNet that needs more than latents, a timestep and a prompt, or that does not fit the other parts."""
    unet, vae, text = (read_json(folder / part / "config.json") for part in ("unet", "vae", "text_encoder"))
    place = f"{folder}/unet/config.json"
    read_json(folder / SCHEDULER)
    for key, neutral in NOT_CONDITIONED_BY_TEXT_ALONE.items():
        if unet.get(key) not in (neutral, None):
            yield f"{place}: {key}: {unet[key]!r}: this UNet needs more than a prompt. Choose another model."
    if unet.get("dropout"):
        yield f"{place}: dropout: {unet['dropout']}: learning would score other steps than were sampled. Set it to 0.0."
    taken, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if taken != latents:
        kind = {2 * latents + 1: ": an inpainting model", 2 * latents: ": an image-to-image model"}.get(taken, "")
        yield f"{place}: in_channels: {taken}, but latents have {latents}{kind}. Give a text-to-image model."
    elif unet.get("out_channels", 4) != latents:
        yield f"{place}: out_channels: {unet.get('out_channels')}, but latents have {latents}. Choose another model."
    width, hidden = unet.get("cross_attention_dim", 1280), text.get("hidden_size", 512)
    if any(each != hidden for each in (width if isinstance(width, list) else [width])):
        yield f"{place}: cross_attention_dim: {width}, but the text encoder's hidden_size is {hidden}."
    if not isinstance(vae.get("scaling_factor", 0.18215), (int, float)):
        yield f"{folder}/vae/config.json: scaling_factor: {vae['scaling_factor']!r} is no number. Write 0.18215."
    if (size := unet.get("sample_size")) is None or sides(size) is None:
        yield f"{place}: sample_size: {size!r}: write the latents' side there, or [height, width], as in 64."
