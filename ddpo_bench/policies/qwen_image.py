"""Qwen-Image (Wu et al. 2025) as a policy: any QwenImagePipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.architectures.packing import PATCH, packed, unpacked
from ddpo_bench.options import option
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.diffusers_policy import paired
from ddpo_bench.policies.flow_pipeline import JOINT_ATTENTION, OWN_SIDE, FlowPipeline
from ddpo_bench.policies.latent_size import as_the_vae_made_them, vae_channels
from ddpo_bench.policies.padded_text import padded
from ddpo_bench.policies.pipeline_folder import QWEN_TOKENIZER, Layout
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

NO_PROMPT = " "  # the model card's negative prompt where there is none
FEED_FORWARD = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
TEXT_WIDTH = 3584


@dataclass(frozen=True)
class QwenImageAdapter(Adapter):
    """What of the network is trained, with the LoRA of verl's Flow-GRPO recipe as the default."""

    rank: int = option(64, "rank of the LoRA matrices", minimum=1, maximum=4096)
    alpha: int | None = option(
        128, "LoRA updates are multiplied by alpha / rank; null is the rank", minimum=1, maximum=65536
    )
    target_modules: tuple[str, ...] = option(
        JOINT_ATTENTION + FEED_FORWARD,
        "layers that LoRA updates, each by its name or by the end of its name after a dot",
    )


@register("policy", "qwen_image")
@dataclass
class QwenImage(FlowPipeline):
    """Qwen-Image, with the guidance of its pipeline, which keeps the norm of the conditional prediction."""

    model: str = option(MISSING, "a folder saved by QwenImagePipeline, or a hub name")
    adapter: QwenImageAdapter = option(QwenImageAdapter(), "what of the network is trained")
    guidance_scale: float = option(
        1.0,
        "true_cfg_scale of the pipeline: classifier-free guidance, in sampling and in learning; 1.0 turns it off",
        minimum=1,
        maximum=100,
    )
    max_sequence_length: int = option(
        512, "tokens of the text encoder, to which every prompt is padded", minimum=8, maximum=1024, unit="tokens"
    )

    layout: ClassVar[Layout] = Layout(
        pipeline="QwenImagePipeline",
        meant="Qwen-Image, text to image",
        parts={
            "transformer": ("QwenImageTransformer2DModel",),
            "vae": ("AutoencoderKLQwenImage",),
            "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
            "tokenizer": QWEN_TOKENIZER,
        },
        large=("text_encoder",),
        since="0.37",  # before, the network did not read the mask of prompts
    )
    pipeline_sigmas: ClassVar[bool] = True

    def embed(self, prompt: str) -> Conditioning:
        """Embeddings of a prompt within the pipeline's template, [1, L, D], with their mask; critics get their mean."""
        texts = self.encoded(prompt)
        empty = self.padded(self.encoded(NO_PROMPT)) if self.guided else {}
        return Conditioning(paired(self.padded(texts), empty), texts.float().mean(0, keepdim=True))

    def encoded(self, prompt: str) -> Tensor:
        """[L, D], of one prompt, which is not padded."""
        texts: Tensor = self.pipeline.encode_prompt(
            prompt, device=self.device, max_sequence_length=self.max_sequence_length
        )[0]
        return texts[0]

    def padded(self, texts: Tensor) -> dict[str, Tensor]:
        return padded(texts, self.max_sequence_length)

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        batch, _, height, width = x_t.shape
        tokens: Tensor = network(
            hidden_states=packed(x_t),
            timestep=timesteps.to(x_t.dtype) / 1000,
            encoder_hidden_states=tensors["texts"],
            encoder_hidden_states_mask=tensors["mask"].bool(),
            img_shapes=[[(1, height // PATCH, width // PATCH)]] * batch,
            return_dict=False,
        )[0]
        return unpacked(tokens, x_t.shape)

    def for_guidance(self, output: Tensor) -> Tensor:
        """Both halves times |conditional| / |guided|, token by token: guidance, which is linear, then gives what the
        pipeline scales afterwards."""
        tokens = packed(output.float())  # [2B, L, 4 C]
        unconditional, conditional = tokens.chunk(2)
        guided = unconditional + self.guidance_scale * (conditional - unconditional)
        scale = conditional.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True)
        return unpacked(tokens * scale.repeat(2, 1, 1), output.shape).to(output.dtype)

    def decoded(self, vae: Any, latents: Tensor) -> Tensor:
        frame = as_the_vae_made_them(latents, vae.config)[:, :, None]  # [N, C, 1, H, W], of a VAE for videos
        images: Tensor = vae.decode(frame, return_dict=False)[0]
        return images[:, :, 0]

    def reader(self, layout: Layout) -> tuple[str, int | None]:
        return "tokenizer", self.max_sequence_length

    def own_sides(self, configs: Configs) -> tuple[int, int]:
        return OWN_SIDE, OWN_SIDE

    def patch_size(self, configs: Configs) -> int:
        return PATCH

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        return {
            "texts": (self.max_sequence_length, self.pooled_numbers(configs)),
            "mask": (self.max_sequence_length,),
        }

    def pooled_numbers(self, configs: Configs) -> int:
        return int(configs["transformer"].get("joint_attention_dim", TEXT_WIDTH))

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        """A transformer that needs more than latents, timesteps and text."""
        network, vae = (read_json(folder / part / "config.json") for part in ("transformer", "vae"))
        taken, tokens = network.get("in_channels", 64), vae_channels(vae) * PATCH**2
        if taken != tokens:
            yield (
                f"{folder}/transformer/config.json: in_channels: {taken}, but tokens have {tokens}. "
                "Give a text-to-image model."
            )
