"""Stable Diffusion 1.x and 2.x, and the embedded model, as a policy: any StableDiffusionPipeline folder or hub name."""

from __future__ import annotations

import contextlib
import copy
import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ddpo_bench.fingerprints import Inputs, hashes
from ddpo_bench.options import option
from ddpo_bench.policies.architecture import architecture_mistakes
from ddpo_bench.policies.model_folder import (
    folder_mistakes,
    latent_shape,
    local_folder,
    model_mistakes,
    model_path,
    read_files,
    scheduler_config,
)
from ddpo_bench.policies.prompt_length import seen_prompt
from ddpo_bench.policies.stored_weights import WEIGHTS, variant_of
from ddpo_bench.protocols import Conditioning, CopyName
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

ATTENTION_PROJECTIONS = ["to_q", "to_k", "to_v", "to_out.0"]


class ModelNotFound(ValueError):
    """No pipeline could be loaded from the given folder or hub name."""


@dataclass(frozen=True)
class Adapter:
    """What of the UNet is trained."""

    name: Literal["full", "lora"] = option(
        "full", "what is trained: every weight, or low-rank updates of the attention projections"
    )
    rank: int = option(4, "rank of the LoRA matrices", minimum=1, maximum=4096)


@register("policy", "stable_diffusion")
@dataclass
class StableDiffusion:
    """Stable Diffusion 1.x, 2.x or the embedded model, with classifier-free guidance as part of the policy."""

    model: str = option("embedded", "embedded, a folder saved by StableDiffusionPipeline, or a hub name")
    adapter: Adapter = option(Adapter(), "what of the UNet is trained")
    guidance_scale: float = option(
        1.0, "scale of classifier-free guidance, in sampling and in learning; 1.0 turns it off", minimum=0, maximum=100
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "precision of the UNet; weights and transition laws stay fp32; auto is bf16 where that is native"
    )

    def start(self, device: torch.device, seed: int) -> None:
        """Load the model and make it trainable.

        Args:
            seed: of the LoRA matrices.
        Raises:
            ModelNotFound: where there is no such pipeline.
        """
        self.device = device
        self.resolved_precision = resolve_precision(self.precision, device)
        pipeline, self.folder = load_pipeline(self.model)
        pipeline = pipeline.to(device)
        pipeline.unet.requires_grad_(False)
        pipeline.vae.requires_grad_(False)
        pipeline.text_encoder.requires_grad_(False)
        self.pipeline = pipeline
        self.seen = lru_cache(maxsize=10_000)(partial(seen_prompt, pipeline.tokenizer))
        self.unet: UNet2DConditionModel = pipeline.unet
        if makes_attention_maps(device, self.resolved_precision):
            from diffusers.models.attention_processor import AttnProcessor

            self.unet.set_attn_processor(AttnProcessor())
        self.pretrained = self.unet
        if self.adapter.name == "lora":
            self.add_lora(seed)
        else:
            self.pretrained = copy.deepcopy(self.unet)
            self.unet.requires_grad_(True)
        self.unet.train()  # no dropout in these UNets; checkpointed blocks need the flag
        self.in_pretrained = False

    def add_lora(self, seed: int) -> None:
        from diffusers.training_utils import cast_training_params
        from peft import LoraConfig

        if self.resolved_precision is torch.bfloat16:
            self.unet.to(torch.bfloat16)  # frozen weights need no master copy
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet.add_adapter(
                LoraConfig(
                    r=self.adapter.rank,
                    lora_alpha=self.adapter.rank,
                    init_lora_weights="gaussian",
                    target_modules=ATTENTION_PROJECTIONS,
                )
            )
        cast_training_params(self.unet, torch.float32)

    def inputs(self) -> Inputs:
        """The files of a local pipeline; a hub model is known by its name alone."""
        folder = model_path(self.model)
        return {"model": hashes(folder, read_files(folder))} if folder.is_dir() else {}

    def mistakes(self) -> list[str]:
        """What would keep `start` from loading the model, as far as can be told without loading it."""
        return [f"policy.model: {mistake}" for mistake in model_mistakes(self.model)]

    def stored_scheduler_config(self) -> dict[str, Any] | None:
        """The scheduler's configuration of a model without mistakes; None where it has not been downloaded yet."""
        folder = local_folder(self.model)
        return scheduler_config(folder) if folder else None

    @property
    def scheduler_config(self) -> dict[str, Any]:
        return scheduler_config(self.folder)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return latent_shape(self.unet.config)

    @property
    def guided(self) -> bool:
        return self.guidance_scale != 1.0

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Conditioning:
        """Text embeddings of the prompts, [B, L, D], and of the empty prompt under guidance; pooled is their mean."""
        embeddings, unconditional = self.pipeline.encode_prompt(prompts, self.device, 1, self.guided)
        tensors = {"embeddings": embeddings} | ({"unconditional": unconditional} if self.guided else {})
        return Conditioning(tensors, embeddings.float().mean(1))

    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """One UNet pass.

        Args:
            x_t: [B, C, H, W] float32.
            timesteps: [B].
        Returns:
            [2B, C, H, W] as (uncond, cond) under guidance, else [B, C, H, W], in the precision of the network.
        """
        embeddings = conditioning.tensors["embeddings"]
        if self.guided:
            x_t, timesteps = torch.cat([x_t, x_t]), torch.cat([timesteps, timesteps])
            embeddings = torch.cat([conditioning.tensors["unconditional"], embeddings])
        unet = self.pretrained if self.in_pretrained else self.unet
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.resolved_precision is torch.bfloat16):
            return unet(x_t, timesteps, encoder_hidden_states=embeddings).sample

    def decode(self, latents: Tensor) -> Tensor:
        """Images [N, 3, H, W], float32 in [0, 1]; differentiable in the latents."""
        images = self.pipeline.vae.decode(latents / self.pipeline.vae.config.scaling_factor).sample
        return (images.float() / 2 + 0.5).clamp(0, 1)

    @contextlib.contextmanager
    def copy(self, name: CopyName) -> Iterator[None]:
        """Within this context `predict` is the pretrained model, without gradients."""
        lora = self.adapter.name == "lora"
        self.in_pretrained = True
        if lora:
            self.unet.disable_adapters()
        try:
            with torch.no_grad():
                yield
        finally:
            self.in_pretrained = False
            if lora:
                self.unet.enable_adapters()

    def parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.unet.parameters() if parameter.requires_grad]

    def state_dict(self) -> dict[str, Any]:
        """The trained tensors by name."""
        return {name: p.detach() for name, p in self.unet.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        parameters = {name: p for name, p in self.unet.named_parameters() if p.requires_grad}
        if state.keys() != parameters.keys():
            raise ValueError("the checkpoint holds other tensors than this policy trains.")
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the device computes it natively, else fp32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cpu":
        native = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and cpu_has_bf16()
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def makes_attention_maps(device: torch.device, precision: torch.dtype) -> bool:
    """Whether attention is plain matrix products, and not torch's fused one.

    That is quicker for the embedded model in bf16 on a CPU alone; docs/performance.md has the figures.
    """
    return device.type == "cpu" and precision is torch.bfloat16


def cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def load_pipeline(model: str) -> tuple[StableDiffusionPipeline, Path]:
    """The pipeline in fp32, without a safety checker and a scheduler, and its folder.

    A folder is read offline, a hub name may be fetched.

    Raises:
        ModelNotFound: where there is no such pipeline, or it is one that this policy cannot train.
    """
    refuse(model_mistakes(model))
    pipeline_class = import_pipeline()
    with naming_model_trouble(model):
        folder = model_path(model)
        if not folder.is_dir():
            folder = Path(pipeline_class.download(model, use_safetensors=True, safety_checker=None))
            refuse(folder_mistakes(folder))
        if model != "embedded":
            refuse(architecture_mistakes(folder))
        pipeline = pipeline_class.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            variant=variant_of(folder),
            scheduler=None,
            safety_checker=None,
            requires_safety_checker=False,
        )
    refuse(weight_mistakes(pipeline, folder))
    return pipeline.to(torch.float32), folder


def refuse(mistakes: list[str]) -> None:
    if mistakes:
        raise ModelNotFound("\n".join(f"policy.model: {mistake}" for mistake in mistakes))


@contextlib.contextmanager
def naming_model_trouble(model: str) -> Iterator[None]:
    """Say in one line what the libraries raise for models that they cannot find or read."""
    from safetensors import SafetensorError

    try:
        yield
    except ModelNotFound:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ModelNotFound(
            f"policy.model: no StableDiffusionPipeline could be loaded from {model!r}: {reason}"
        ) from error


def weight_mistakes(pipeline: StableDiffusionPipeline, folder: Path) -> list[str]:
    """Weights that are not finite, by the first of their names."""
    found = []
    for part in WEIGHTS:
        named = dict(getattr(pipeline, part).named_parameters())
        norms = torch.stack(torch._foreach_norm(list(named.values()), dtype=torch.float32))
        bad = [name for name, norm in zip(named, norms.tolist(), strict=True) if not math.isfinite(norm)]
        if bad:
            found.append(
                f"{folder}: {len(bad)} of {part}'s weights are NaN or infinite, {bad[0]} first. Copy it again."
            )
    return found


def import_pipeline() -> type[StableDiffusionPipeline]:
    """The class, whose import takes seconds, and would take a fifth longer with the garbage collector looking on.

    Loading bars, and notes on absent torchvision, would break our own progress display.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        for logging in (diffusers_logging, transformers_logging):
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        from diffusers import StableDiffusionPipeline
    finally:
        if collecting:
            gc.enable()
    return StableDiffusionPipeline
