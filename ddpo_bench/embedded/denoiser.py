"""Stage 2 of the recipe: text encoder and UNet, trained together from scratch on cached latents (v-prediction)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ddpo_bench.embedded.autoencoder import scene_batch
from ddpo_bench.embedded.fit import Schedule, autocast, fit, loader, world_and_rank
from ddpo_bench.embedded.scenes import Scene, caption, sample_scene

SCHEDULES = {"cpu": Schedule(steps=3600, batch=192), "cuda": Schedule(steps=6000, batch=1024)}
CACHED_SCENES = {"cpu": 80_000, "cuda": 400_000}
PARTS, PART = 8, 125  # a chunk of the cache has so many parts, each of so many scenes
SNR_CAP = 5.0  # min-SNR weighting (Hang et al. 2023)
BARE_CAPTIONS = 0.4  # share that names noun and count only
DROPPED_CAPTIONS = 0.1  # share replaced by the empty prompt, for classifier-free guidance
UNGUIDED_SHARE = 0.5  # of the steps, before guidance is built in
GUIDANCE_WEIGHT = 1 / 3  # w of the built-in guidance, which is worth a guidance scale of 1 / (1 - w)


class Denoiser(nn.Module):
    """Text encoder and UNet as one trainable module."""

    def __init__(self, tokenizer: CLIPTokenizer):
        super().__init__()
        self.text_encoder = build_text_encoder(tokenizer)
        self.unet = build_unet()

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the velocity, [B, 8, 8, 8].

        Args:
            noisy: noisy latents, [B, 8, 8, 8].
            timesteps: [B].
            tokens: tokens of the captions, [B, L].
        """
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config)
    encoder.set_attn_implementation("eager")  # SDPA's backward is slow on a CPU
    return encoder


def build_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        layers_per_block=1,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    unet.set_attn_processor(AttnProcessor())  # at this size 1.5 times as fast as SDPA on a CPU
    return unet


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
    )


class LatentScenes:
    """Cached latents of random scenes, from which training batches are drawn.

    Attributes:
        latents: unscaled latents, [N, 8, 8, 8] float16, on the device where they are used.
        scenes: the scene of each latent.
        tokenizer: the tokenizer of the captions.
        scaling_factor: the factor that scales the latents to unit standard deviation.
    """

    def __init__(self, latents: Tensor, scenes: list[Scene], tokenizer: CLIPTokenizer):
        self.scaling_factor = float(1 / latents[:10_000].float().std())
        self.latents, self.scenes, self.tokenizer = latents, scenes, tokenizer

    def draw(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        """A random batch: places of latents, [size], and tokens of their captions, [size, L], on the CPU."""
        index = rng.integers(len(self.scenes), size=size)
        captions = [training_caption(self.scenes[i], rng) for i in index]
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return torch.from_numpy(index), tokens

    def scaled(self, index: Tensor) -> Tensor:
        """Scaled latents, [size, 8, 8, 8] float32."""
        return self.latents[index.to(self.latents.device)].float() * self.scaling_factor


def training_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that names all, part or none of the scene."""
    draw = rng.random()
    if draw < DROPPED_CAPTIONS:
        return ""
    named = rng.random(2) < 0.8
    if draw < DROPPED_CAPTIONS + BARE_CAPTIONS:
        named[:] = False
    return caption(
        replace(scene, colour=scene.colour if named[0] else None, pattern=scene.pattern if named[1] else None)
    )


class Pictures(Dataset[Tensor]):
    """The pictures of the latent cache, by chunk."""

    def __getitem__(self, chunk: int) -> Tensor:
        return torch.cat([scene_batch((2, chunk, part), PART)[1] for part in range(PARTS)])


@torch.no_grad()
def cache_latents(autoencoder: AutoencoderKL, folder: Path, device: torch.device) -> None:
    """Write this rank's share of the latent cache, in chunks; chunks that exist are not written again."""
    world, rank = world_and_rank()
    folder.mkdir(parents=True, exist_ok=True)
    chunks = range(rank, CACHED_SCENES[device.type] // (PARTS * PART), world)
    missing = [chunk for chunk in chunks if not (folder / f"{chunk:04d}.pt").exists()]
    autoencoder.to(device)
    for chunk, images in zip(missing, loader(Pictures(), missing, device), strict=True):
        with autocast(device):
            parts = [autoencoder.encode(part.to(device)).latent_dist.mode().half().cpu() for part in images.split(PART)]
        partial = folder / f"{chunk:04d}.partial"
        torch.save(torch.cat(parts), partial)
        partial.replace(folder / f"{chunk:04d}.pt")
    autoencoder.to("cpu")


def load_latents(folder: Path, tokenizer: CLIPTokenizer, device: torch.device) -> LatentScenes:
    """Read the whole cache, and draw its scenes again from their seeds."""
    chunks = range(CACHED_SCENES[device.type] // (PARTS * PART))
    latents = torch.cat([torch.load(folder / f"{chunk:04d}.pt", weights_only=True) for chunk in chunks])
    scenes = [scene for chunk in chunks for part in range(PARTS) for scene in scenes_of((2, chunk, part), PART)]
    return LatentScenes(latents.to(device), scenes, tokenizer)


def scenes_of(seed: tuple[int, ...], size: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng) for _ in range(size)]


class VelocityLoss:
    """Min-SNR weighted velocity loss (Salimans & Ho 2022; Hang et al. 2023) on batches of cached latents.

    In the later steps guidance is built in: the target is moved by w times the difference between the model's own
    predictions with and without the caption (Tang et al. 2025, "Diffusion Models without Classifier-free Guidance"),
    so that pictures are sharp without guidance at sampling time, at half the cost.
    """

    def __init__(self, data: LatentScenes, guided_from: int):
        self.data, self.guided_from = data, guided_from
        empty = data.tokenizer("", padding="max_length", return_tensors="pt").input_ids
        self.empty = empty.to(data.latents.device)
        alphas = build_scheduler().alphas_cumprod
        self.signal, self.noise = alphas.sqrt(), (1 - alphas).sqrt()
        snr = alphas / (1 - alphas)
        self.weight = snr.clamp(max=SNR_CAP) / (snr + 1)

    def batch(self, seed: tuple[int, int], size: int) -> tuple[Tensor, ...]:
        """Places of latents, tokens, noise and timesteps."""
        index, tokens = self.data.draw(np.random.default_rng((3, *seed)), size)
        generator = torch.Generator().manual_seed(seed[0] * 64 + seed[1])
        noise = torch.randn(size, 8, 8, 8, generator=generator)
        strata = (torch.arange(size) + torch.rand(size, generator=generator)) / size
        return index, tokens, noise, (strata * len(self.weight)).long()

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], seed: tuple[int, int]) -> Tensor:
        device = self.data.latents.device
        index, tokens, noise, timesteps = (part.to(device) for part in batch)
        latents = self.data.scaled(index)
        signal, sigma = (values.to(device)[timesteps].view(-1, 1, 1, 1) for values in (self.signal, self.noise))
        weight = self.weight.to(device)
        noisy, target = signal * latents + sigma * noise, signal * noise - sigma * latents
        with autocast(device):
            velocity = model(noisy, timesteps, tokens).float()
        if seed[0] >= self.guided_from:
            with torch.no_grad(), autocast(device):
                unconditional = model(noisy, timesteps, self.empty.expand_as(tokens)).float()
            named = (tokens != self.empty).any(dim=1).view(-1, 1, 1, 1)
            target = target + GUIDANCE_WEIGHT * named * (velocity.detach() - unconditional)
        error = (velocity - target).square().mean(dim=(1, 2, 3))
        return (weight[timesteps] * error).mean() / weight.mean()


def train_denoiser(data: LatentScenes, tokenizer: CLIPTokenizer, folder: Path) -> Denoiser:
    """Train the denoiser where the latents are, and return its exponential moving average, on the CPU."""
    torch.manual_seed(0)
    device = data.latents.device
    schedule = SCHEDULES[device.type]
    objective = VelocityLoss(data, guided_from=int(UNGUIDED_SHARE * schedule.steps))
    model = fit("denoiser", Denoiser(tokenizer).to(device), objective, schedule, folder)
    assert isinstance(model, Denoiser)
    return model.to("cpu")
