"""Bytes that a run needs in memory and on disk, counted without loading its model.

Weights are counted by the headers of their files.  What a micro-batch needs is counted on torch's meta device, where
networks made of their configurations alone are gone through without computing anything.  Rules of thumb: bf16 halves
what learning needs; fused attention keeps no maps.  Left out: what torch itself occupies, kernels' workspaces,
fragmentation and critics, which are small; hence "about".
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.config import RunConfig
from ddpo_bench.policies.model_folder import latent_shape, local_folder
from ddpo_bench.preflight.model_files import Model, read_model

if TYPE_CHECKING:
    import torch

FP32, BF16 = 4, 2
ADAMW = 2 * FP32  # its two moments, a weight
TOKENS, HIDDEN_SIZE = 77, 512  # of a text encoder whose configuration leaves them out


@dataclass(frozen=True)
class Needs:
    """Bytes of one run.

    Attributes:
        trained: numbers in the trained weights.
        weights: of all networks, the pretrained copy among them.
        micro_batch: learning from one, or decoding its images, whichever needs more.
        rollout: latents, means and text of an epoch, and of what a replay keeps of earlier ones.
        checkpoint: a file, of which one is left when it is done.
    """

    trained: int
    weights: int
    gradients: int
    optimiser: int
    micro_batch: int
    rollout: int
    checkpoint: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.micro_batch + self.rollout


def needs(config: RunConfig) -> Needs | None:
    """What a run needs; None where its model is not here yet, or is of a kind that cannot be counted."""
    options = config.policy.options
    folder = local_folder(options["model"]) if config.policy.name == "stable_diffusion" else None
    return counted(config, read_model(folder)) if folder else None


def counted(config: RunConfig, model: Model) -> Needs:
    from ddpo_bench.policies.stable_diffusion import makes_attention_maps, resolve_precision

    device, options = device_here(), config.policy.options
    precision = resolve_precision(options["precision"], device)
    half, with_maps = precision.itemsize == BF16, makes_attention_maps(device, precision)
    lora, learns = options["adapter"].name == "lora", config.algorithm.name != "frozen"
    trained = lora_numbers(model, options["adapter"].rank) if lora else model.unet_numbers
    if lora:
        unet = model.unet_numbers * (BF16 if half else FP32) + trained * FP32
    else:  # the trained copy and the pretrained one, and autocast's
        unet = model.unet_numbers * (2 * FP32 + BF16 * half)
    batch = min(config.micro_batch, config.samples_per_epoch)
    rows = batch * (1 if options["guidance_scale"] == 1.0 else 2)
    learning = rows * learning_bytes(model.folder, with_maps, lora) // (2 if half else 1)
    rollout, replay = rollout_bytes(config, model)
    return Needs(
        trained=trained,
        weights=unet + model.frozen * FP32,
        gradients=trained * FP32 * learns,
        optimiser=trained * ADAMW * learns,
        micro_batch=max(learning * learns, batch * decoding_bytes(model.folder)),
        rollout=rollout + replay,
        checkpoint=trained * (FP32 + ADAMW * learns) + replay,
    )


def rollout_bytes(config: RunConfig, model: Model) -> tuple[int, int]:
    """Of an epoch's rollout, and of the replay of an algorithm that has one."""
    steps, latents = config.sampler.options.get("steps", 0), math.prod(latent_shape(model.unet_config))
    guided = config.policy.options["guidance_scale"] != 1.0
    text = tokens_of(model) * hidden_size(model) * (1 + guided) + hidden_size(model)  # and pooled
    kept = config.algorithm.options.get("replay_rollouts", 0)
    sample = FP32 * config.samples_per_epoch
    return sample * ((2 * steps + 1) * latents + text), sample * kept * ((steps + 1) * latents + text)


def tokens_of(model: Model) -> int:
    return int(model.text_config.get("max_position_embeddings", TOKENS))


def hidden_size(model: Model) -> int:
    return int(model.text_config.get("hidden_size", HIDDEN_SIZE))


def memory_here() -> tuple[int, str]:
    """Bytes that runs have to share, and whose."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory, torch.cuda.get_device_name(0)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine"


def device_here() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def lora_numbers(model: Model, rank: int) -> int:
    """Numbers in the two low-rank matrices of every attention projection."""
    from ddpo_bench.policies.stable_diffusion import ATTENTION_PROJECTIONS

    endings = tuple(f".{name}.weight" for name in ATTENTION_PROJECTIONS)
    return sum(rank * sum(shape) for name, shape in model.unet.items() if name.endswith(endings))


@cache
def learning_bytes(folder: Path, with_maps: bool, lora: bool) -> int:
    """Bytes in fp32 at the peak of one sample's forward and backward pass through the UNet, beside its weights.

    Args:
        folder: of the model.
        with_maps: whether attention makes its maps; fused attention does not.
        lora: whether the weights themselves are frozen, so that their inputs need not be kept.
    """
    import torch
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    from ddpo_bench.preflight.peak_memory import PeakMemory

    model = read_model(folder)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(model.unet_config)
        unet.set_attn_processor(AttnProcessor())
        unet.requires_grad_(not lora)
        tokens = tokens_of(model)
        x_t = torch.empty(1, *latent_shape(model.unet_config), requires_grad=True)
        text = torch.empty(1, tokens, hidden_size(model))
        step = torch.zeros(1, dtype=torch.long)
    for weight in unet.parameters() if not lora else ():
        weight.register_post_accumulate_grad_hook(forget)  # gradients of weights are counted apart
    with PeakMemory(None if with_maps else tokens) as peak:
        unet(x_t, step, encoder_hidden_states=text).sample.sum().backward()
    return peak.most


def forget(weight: torch.Tensor) -> None:
    weight.grad = None


@cache
def decoding_bytes(folder: Path) -> int:
    """Bytes in fp32 at the peak of decoding one sample into an image."""
    import torch
    from diffusers import AutoencoderKL

    from ddpo_bench.preflight.peak_memory import PeakMemory

    model = read_model(folder)
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL.from_config(model.vae_config)
        with PeakMemory() as peak:
            vae.decode(torch.empty(1, *latent_shape(model.unet_config)))
    return peak.most
