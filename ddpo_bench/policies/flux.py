"""FLUX.1 dev and schnell (Black Forest Labs 2024) as a policy: any FluxPipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.architectures.packing import PATCH, packed, positions, unpacked
from ddpo_bench.options import option
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.diffusers_policy import paired
from ddpo_bench.policies.flow_pipeline import JOINT_ATTENTION, OWN_SIDE, FlowPipeline
from ddpo_bench.policies.pipeline_folder import CLIP_TOKENIZER, T5_TOKENIZER, Layout
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

GUIDANCE = 3.5  # the pipeline's default
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")


@dataclass(frozen=True)
class FluxAdapter(Adapter):
    """What of the network is trained, with the LoRA of Flow-GRPO's FLUX recipe (Liu et al. 2025) as the default."""

    rank: int = option(64, "rank of the LoRA matrices", minimum=1, maximum=4096)
    alpha: int | None = option(
        128, "LoRA updates are multiplied by alpha / rank; null is the rank", minimum=1, maximum=65536
    )
    target_modules: tuple[str, ...] = option(
        JOINT_ATTENTION + FEED_FORWARD,
        "layers that LoRA updates, each by its name or by the end of its name after a dot",
    )


@register("policy", "flux")
@dataclass
class Flux(FlowPipeline):
    """FLUX.1 dev or schnell; its distilled guidance is an input of the network, not a second pass."""

    model: str = option(MISSING, "a folder saved by FluxPipeline, or a hub name")
    adapter: FluxAdapter = option(FluxAdapter(), "what of the network is trained")
    distilled_guidance: float | None = option(
        None,
        "the guidance scale that a distilled network is given; null is 3.5, and none for a network without that input",
        minimum=0,
        maximum=100,
    )
    max_sequence_length: int = option(
        512, "tokens of the T5 text encoder; schnell was trained on 256", minimum=1, maximum=512, unit="tokens"
    )

    layout: ClassVar[Layout] = Layout(
        pipeline="FluxPipeline",
        meant="FLUX.1 dev or schnell, text to image",
        parts={
            "transformer": ("FluxTransformer2DModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("T5EncoderModel",),
            "tokenizer": CLIP_TOKENIZER,
            "tokenizer_2": T5_TOKENIZER,
        },
        large=("text_encoder_2",),
    )
    pipeline_sigmas: ClassVar[bool] = True

    def embed(self, prompt: str) -> Conditioning:
        """T5's embeddings of a prompt, [1, L, D], and CLIP's pooled one, [1, P], which critics are given too."""
        texts, pooled = self.encoded(prompt)
        empty = dict(zip(("texts", "pooled"), self.encoded(""), strict=True)) if self.guided else {}
        return Conditioning(paired({"texts": texts, "pooled": pooled}, empty), pooled.float())

    def encoded(self, prompt: str) -> tuple[Tensor, Tensor]:
        texts, pooled, _ = self.pipeline.encode_prompt(
            prompt, None, device=self.device, max_sequence_length=self.max_sequence_length
        )
        return texts, pooled

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        distilled = network.config.guidance_embeds
        scale = GUIDANCE if self.distilled_guidance is None else self.distilled_guidance
        tokens: Tensor = network(
            hidden_states=packed(x_t),
            timestep=timesteps.to(x_t.dtype) / 1000,
            guidance=x_t.new_full((len(x_t),), scale) if distilled else None,
            pooled_projections=tensors["pooled"],
            encoder_hidden_states=tensors["texts"],
            txt_ids=x_t.new_zeros(tensors["texts"].shape[1], 3),
            img_ids=positions(x_t),
            return_dict=False,
        )[0]
        return unpacked(tokens, x_t.shape)

    def notes(self) -> Iterator[str]:
        yield from super().notes()
        if not self.pipeline.transformer.config.guidance_embeds:
            yield "without distilled guidance: the network has no such input"

    def reader(self, layout: Layout) -> tuple[str, int | None]:
        return "tokenizer_2", self.max_sequence_length

    def own_sides(self, configs: Configs) -> tuple[int, int]:
        return OWN_SIDE, OWN_SIDE

    def patch_size(self, configs: Configs) -> int:
        return PATCH

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        network = configs["transformer"]
        return {
            "texts": (self.max_sequence_length, network.get("joint_attention_dim", 4096)),
            "pooled": (network.get("pooled_projection_dim", 768),),
        }

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        """A transformer that needs more than latents, timesteps, text and guidance."""
        network, vae = (read_json(folder / part / "config.json") for part in ("transformer", "vae"))
        place, taken = f"{folder}/transformer/config.json", network.get("in_channels", 64)
        tokens = vae.get("latent_channels", 4) * PATCH**2
        if taken != tokens:
            yield (
                f"{place}: in_channels: {taken}, but tokens have {tokens}: a model that is given images too, as for "
                "inpainting (Fill) or control. Give a text-to-image model."
            )

    def option_mistakes(self, folder: Path) -> list[str]:
        found = super().option_mistakes(folder)
        if self.distilled_guidance is not None and not self.configs_of(folder)["transformer"].get("guidance_embeds"):
            found.append("policy.distilled_guidance: this model has no such input (as schnell). Leave it out.")
        return found
