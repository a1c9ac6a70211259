"""Stage 3 of the recipe: the decoder, trained on with latents as the denoiser predicts them.

The last steps of sampling end at predictions of x_0, which are smoother than encoded pictures; a decoder that has seen
them draws sharper pictures from them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ddpo_bench.embedded.autoencoder import pixel_error, scene_batch
from ddpo_bench.embedded.denoiser import Denoiser, build_scheduler
from ddpo_bench.embedded.fit import Schedule, autocast, fit
from ddpo_bench.embedded.scenes import caption
from ddpo_bench.embedded.tokenizer import build_tokenizer

SCHEDULES = {
    "cpu": Schedule(steps=3000, batch=32, muon_rate=0.004, adam_rate=6e-4),
    "cuda": Schedule(steps=6000, batch=192),
}
NOISIEST = 300  # timestep; half of the timesteps are below a quarter of it


class PredictedReconstruction:
    """Pixel error of pictures decoded from predictions of x_0 at low noise.

    Args:
        denoiser: predicts the latents; not trained.
        scaling_factor: of the latents.
        device: where denoiser and decoder are.
    """

    def __init__(self, denoiser: Denoiser, scaling_factor: float, device: torch.device):
        self.denoiser = denoiser.to(device).eval().requires_grad_(False)
        self.scaling_factor, self.tokenizer = scaling_factor, build_tokenizer()
        self.alphas = build_scheduler().alphas_cumprod

    def batch(self, seed: tuple[int, int], size: int) -> tuple[Tensor, ...]:
        """Pictures, tokens of their captions, noise and timesteps."""
        scenes, images = scene_batch((8, *seed), size)
        captions = [caption(scene) for scene in scenes]
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        generator = torch.Generator().manual_seed(seed[0] * 64 + seed[1])
        noise = torch.randn(size, 8, 8, 8, generator=generator)
        return images, tokens, noise, (NOISIEST * torch.rand(size, generator=generator).square()).long()

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], seed: tuple[int, int]) -> Tensor:
        assert isinstance(model, AutoencoderKL)
        images, tokens, noise, timesteps = (part.to(model.device) for part in batch)
        with autocast(model.device):
            predicted = self.predicted(model.encode(images).latent_dist.mode().float(), tokens, noise, timesteps)
            decoded = model.decode(predicted).sample.float()
        return pixel_error(decoded, images)

    @torch.no_grad()
    def predicted(self, latents: Tensor, tokens: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Predictions of unscaled latents from themselves with noise, [B, 8, 8, 8].

        Of x_t = alpha x_0 + sigma e and a velocity v they are alpha x_t - sigma v (Salimans & Ho 2022).
        """
        alphas = self.alphas.to(latents.device)[timesteps].view(-1, 1, 1, 1)
        noisy = alphas.sqrt() * self.scaling_factor * latents + (1 - alphas).sqrt() * noise
        velocity = self.denoiser(noisy, timesteps, tokens).float()
        return (alphas.sqrt() * noisy - (1 - alphas).sqrt() * velocity) / self.scaling_factor


def train_decoder(
    autoencoder: AutoencoderKL, denoiser: Denoiser, scaling_factor: float, folder: Path, device: torch.device
) -> AutoencoderKL:
    """Train the decoder, and return the autoencoder with the exponential moving average of its weights, on the CPU."""
    autoencoder.train().to(device)
    autoencoder.decoder.requires_grad_(True)
    objective = PredictedReconstruction(denoiser, scaling_factor, device)
    model = fit("decoder", autoencoder, objective, SCHEDULES[device.type], folder)
    assert isinstance(model, AutoencoderKL)
    return model.to("cpu")
