"""Stage 1 of the recipe: a small AutoencoderKL, 64 x 64 x 3 pixels to 8 x 8 x 8 latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ddpo_bench.embedded.fit import Schedule, autocast, fit
from ddpo_bench.embedded.render import render
from ddpo_bench.embedded.scenes import Scene, sample_scene

SCHEDULES = {"cpu": Schedule(steps=3000, batch=32), "cuda": Schedule(steps=6000, batch=192)}
KL_WEIGHT = 1e-4  # on the KL per latent dimension in nats; keeps latents near unit scale and smooth
CHANNELS = (16, 32, 64, 128)


def build_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=64,
    )


def scene_batch(seed: tuple[int, ...], size: int) -> tuple[list[Scene], Tensor]:
    """Random scenes and their pictures, float32 [size, 3, 64, 64] in [-1, 1], determined by the seed."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(size)]
    pixels = np.stack([render(scene, rng) for scene in scenes])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1  # channels_last memory
    return scenes, images


class Reconstruction:
    """The pixel error, plus the weighted KL to a unit Gaussian."""

    def batch(self, seed: tuple[int, int], size: int) -> Tensor:
        return scene_batch((1, *seed), size)[1]

    def loss(self, model: nn.Module, images: Tensor, seed: tuple[int, int]) -> Tensor:
        images = images.to(next(model.parameters()).device)
        torch.manual_seed(seed[0] * 64 + seed[1])
        with autocast(images.device):
            posterior = model.encode(images).latent_dist  # type: ignore[operator]
            decoded = model.decode(posterior.sample()).sample.float()  # type: ignore[operator]
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        return pixel_error(decoded, images) + KL_WEIGHT * kl


def pixel_error(decoded: Tensor, images: Tensor) -> Tensor:
    """L1 + 4 MSE in pixels of [-1, 1]."""
    difference = decoded - images
    return difference.abs().mean() + 4 * difference.square().mean()


def train_autoencoder(folder: Path, device: torch.device) -> AutoencoderKL:
    """Train the autoencoder, and return its exponential moving average, on the CPU."""
    torch.manual_seed(0)
    model = build_autoencoder().to(device, memory_format=torch.channels_last)
    return fit("autoencoder", model, Reconstruction(), SCHEDULES[device.type], folder).to("cpu")


@torch.no_grad()
def reconstruction_psnr(model: AutoencoderKL, count: int = 512) -> float:
    """Mean PSNR in dB over held-out scenes, of reconstructions from the posterior mean, rounded to 8 bits."""
    values = []
    for step in range(count // 64):
        _, images = scene_batch((99, step), 64)
        decoded = model.decode(model.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
        pixels = ((decoded + 1) * 127.5).round() - ((images + 1) * 127.5).round()
        mse = pixels.square().mean(dim=(1, 2, 3))
        values.append(10 * torch.log10(255**2 / mse.clamp_min(1e-3)))
    return float(torch.cat(values).mean())
