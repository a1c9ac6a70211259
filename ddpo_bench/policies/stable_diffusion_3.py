"""Stable Diffusion 3 and 3.5 (Esser et al. 2024), and the embedded flow model, as a policy: any
StableDiffusion3Pipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.policies.diffusers_policy import paired
from ddpo_bench.policies.flow_pipeline import FlowPipeline, JointAttentionAdapter
from ddpo_bench.policies.latent_size import sides
from ddpo_bench.policies.pipeline_folder import CLIP_TOKENIZER, T5_TOKENIZER, Layout
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

CLIP_TOKENS = 77
CLIP = ("CLIPTextModelWithProjection",)


@register("policy", "stable_diffusion_3")
@dataclass
class StableDiffusion3(FlowPipeline):
    """Stable Diffusion 3, 3.5 or the embedded flow model, with classifier-free guidance as part of the policy."""

    model: str = option(MISSING, "embedded-flow, a folder saved by StableDiffusion3Pipeline, or a hub name")
    adapter: JointAttentionAdapter = option(JointAttentionAdapter(), "what of the network is trained")
    max_sequence_length: int = option(
        256,
        "tokens of the T5 text encoder; of a model without one, zeros in their place",
        minimum=0,
        maximum=512,
        unit="tokens",
    )

    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusion3Pipeline",
        meant="Stable Diffusion 3 or 3.5, text to image",
        parts={
            "transformer": ("SD3Transformer2DModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": CLIP,
            "text_encoder_2": CLIP,
            "text_encoder_3": ("T5EncoderModel",),
            "tokenizer": CLIP_TOKENIZER,
            "tokenizer_2": CLIP_TOKENIZER,
            "tokenizer_3": T5_TOKENIZER,
        },
        optional=("text_encoder_3", "tokenizer_3"),
        buffers=("pos_embed.pos_embed",),
        large=("text_encoder_3",),
    )

    def embed(self, prompt: str) -> Conditioning:
        """Text embeddings of a prompt, [1, L, D], and its pooled projections, [1, P], which critics are given too."""
        texts, empty_texts, pooled, empty_pooled = self.pipeline.encode_prompt(
            prompt,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=self.guided,
            max_sequence_length=self.max_sequence_length,
        )
        empty = {"texts": empty_texts, "pooled": empty_pooled} if self.guided else {}
        return Conditioning(paired({"texts": texts, "pooled": pooled}, empty), pooled.float())

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        output: Tensor = network(
            hidden_states=x_t,
            timestep=timesteps,
            encoder_hidden_states=tensors["texts"],
            pooled_projections=tensors["pooled"],
            return_dict=False,
        )[0]
        return output

    def reader(self, layout: Layout) -> tuple[str, int | None]:
        return ("tokenizer_3", self.max_sequence_length) if "tokenizer_3" in layout.parts else ("tokenizer", None)

    def patch_size(self, configs: Configs) -> int:
        return int(configs["transformer"].get("patch_size", 2))

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        network, text = configs["transformer"], configs["text_encoder"]
        tokens = text.get("max_position_embeddings", CLIP_TOKENS) + self.max_sequence_length
        return {
            "texts": (tokens, network.get("joint_attention_dim", 4096)),
            "pooled": (network.get("pooled_projection_dim", 2048),),
        }

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        """A transformer that needs more than latents, timesteps and text, or that does not fit the VAE."""
        network, vae = (read_json(folder / part / "config.json") for part in ("transformer", "vae"))
        place = f"{folder}/transformer/config.json"
        taken, latents = network.get("in_channels", 16), vae.get("latent_channels", 4)
        if taken != latents:
            yield f"{place}: in_channels: {taken}, but latents have {latents}. Give a text-to-image model."
        if (size := network.get("sample_size", 128)) is None or sides(size) is None:
            yield f"{place}: sample_size: {size!r}: write the latents' side there, as in 128."

    def size_mistakes(self, configs: Configs) -> list[str]:
        if found := super().size_mistakes(configs):
            return found
        largest = configs["transformer"].get("pos_embed_max_size", 96) * self.patch_size(configs)
        for key, side in zip(("height", "width"), self.latent_shape_of(configs)[1:], strict=True):
            if side > largest:
                factor = (getattr(self, key) or side) // side
                found.append(f"policy.{key}: this model's positions end at {largest * factor} pixels. Write less.")
        if self.max_sequence_length == 0 and "text_encoder_3" in configs:
            found.append("policy.max_sequence_length: 0: this model has a T5 text encoder. Write 256.")
        return found
