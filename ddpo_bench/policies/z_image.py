"""Z-Image and Z-Image-Turbo (Tongyi 2025) as a policy: any ZImagePipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench.architectures.packing import PATCH
from ddpo_bench.options import option
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.diffusers_policy import paired
from ddpo_bench.policies.flow_pipeline import OWN_SIDE, FlowPipeline
from ddpo_bench.policies.latent_size import vae_channels
from ddpo_bench.policies.padded_text import padded
from ddpo_bench.policies.pipeline_folder import QWEN_TOKENIZER, Layout
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.policies.stored_weights import read_json
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register

BEFORE_THE_PROMPT = 3  # tokens of the chat template
TEXT_WIDTH = 2560
ATTENTION = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")
FEED_FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")


@dataclass(frozen=True)
class ZImageAdapter(Adapter):
    """What of the network is trained, with Flow-Factory's target layers as the default."""

    rank: int = option(64, "rank of the LoRA matrices", minimum=1, maximum=4096)
    alpha: int | None = option(
        128, "LoRA updates are multiplied by alpha / rank; null is the rank", minimum=1, maximum=65536
    )
    target_modules: tuple[str, ...] = option(
        ATTENTION + FEED_FORWARD, "layers that LoRA updates, each by its name or by the end of its name after a dot"
    )


@register("policy", "z_image")
@dataclass
class ZImage(FlowPipeline):
    """Z-Image or Z-Image-Turbo; its network predicts x_0 - e of 1 - s, and is read the other way round."""

    model: str = option(MISSING, "a folder saved by ZImagePipeline, or a hub name")
    adapter: ZImageAdapter = option(ZImageAdapter(), "what of the network is trained")
    guidance_scale: float = option(
        1.0,
        "scale of classifier-free guidance, in sampling and in learning: 1 more than the pipeline's; 1.0 turns it off",
        minimum=0,
        maximum=100,
    )
    max_sequence_length: int = option(
        512, "tokens of the text encoder, those of its template included", minimum=16, maximum=512, unit="tokens"
    )

    layout: ClassVar[Layout] = Layout(
        pipeline="ZImagePipeline",
        meant="Z-Image or Z-Image-Turbo, text to image",
        parts={
            "transformer": ("ZImageTransformer2DModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": ("Qwen3Model", "Qwen3ForCausalLM"),
            "tokenizer": QWEN_TOKENIZER,
        },
        large=("text_encoder",),
        since="0.39",  # before, the pipeline's schedule had a last step of length zero
    )
    pipeline_sigmas: ClassVar[bool] = True

    def embed(self, prompt: str) -> Conditioning:
        """Embeddings of a prompt within its chat template, [1, L, D], with their mask; critics get their mean."""
        texts, empty_texts = self.pipeline.encode_prompt(
            prompt,
            device=self.device,
            do_classifier_free_guidance=self.guided,
            max_sequence_length=self.max_sequence_length,
        )
        empty = padded(empty_texts[0], self.max_sequence_length) if self.guided else {}
        pooled = texts[0].float().mean(0, keepdim=True)
        return Conditioning(paired(padded(texts[0], self.max_sequence_length), empty), pooled)

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        texts, mask = tensors["texts"], tensors.get("mask")  # without a mask, all are the prompt's
        lengths = [texts.shape[1]] * len(texts) if mask is None else mask.bool().sum(1).tolist()
        outputs = network(
            list(x_t[:, :, None].unbind()),
            (1000 - timesteps.to(x_t.dtype)) / 1000,
            [text[:length] for text, length in zip(texts, lengths, strict=True)],
            return_dict=False,
        )[0]
        return -torch.stack(list(outputs))[:, :, 0]

    def reader(self, layout: Layout) -> tuple[str, int | None]:
        return "tokenizer", self.max_sequence_length - BEFORE_THE_PROMPT

    def own_sides(self, configs: Configs) -> tuple[int, int]:
        return OWN_SIDE, OWN_SIDE

    def patch_size(self, configs: Configs) -> int:
        return PATCH

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        return {"texts": (self.max_sequence_length, self.pooled_numbers(configs))}

    def pooled_numbers(self, configs: Configs) -> int:
        return int(configs["transformer"].get("cap_feat_dim", TEXT_WIDTH))

    def folder_mistakes(self, folder: Path) -> Iterator[str]:
        """A transformer that does not fit the VAE."""
        network, vae = (read_json(folder / part / "config.json") for part in ("transformer", "vae"))
        taken, latents = network.get("in_channels", 16), vae_channels(vae)
        if taken != latents:
            yield (
                f"{folder}/transformer/config.json: in_channels: {taken}, but latents have {latents}. "
                "Give a text-to-image model."
            )
