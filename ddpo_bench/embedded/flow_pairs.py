"""Training pairs of the flow model: states on trajectories of the embedded UNet, and the velocity of each.

The UNet's prediction is the target, which has guidance built in and no noise; states on the teacher's own trajectories
are those that the student will meet when it samples.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from ddpo_bench.embedded.denoiser import scenes_of, training_caption
from ddpo_bench.embedded.fit import autocast, world_and_rank

STEPS = 20  # states per trajectory
PROMPTS = 250  # trajectories per chunk
CHUNK = STEPS * PROMPTS


class FlowPairs:
    """Cached states and velocities, from which training batches are drawn.

    Attributes:
        noisy: x_t = (1 - s) x_0 + s e, [N, 8, 8, 8] float16.
        sigma: noise levels s in (0, 1], [N] float32.
        velocity: the teacher's e - x_0, [N, 8, 8, 8] float16.
        tokens: tokens of the captions, [N, L].
    """

    def __init__(self, parts: list[dict[str, Tensor]], device: torch.device):
        self.noisy, self.sigma, self.velocity, self.tokens = (
            torch.cat([part[name] for part in parts]).to(device) for name in ("noisy", "sigma", "velocity", "tokens")
        )

    def at(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pairs at some places, as (x_t, s, velocity, tokens)."""
        return self.noisy[index].float(), self.sigma[index], self.velocity[index].float(), self.tokens[index].long()


def load_pairs(folder: Path, count: int, device: torch.device) -> FlowPairs:
    return FlowPairs(
        [torch.load(folder / f"{chunk:04d}.pt", weights_only=True) for chunk in range(count // CHUNK)], device
    )


def cache_pairs(teacher: Path, folder: Path, count: int, device: torch.device) -> None:
    """Write this rank's share of the cache, in chunks of 5,000 pairs; chunks that exist are not written again.

    Args:
        teacher: the folder of the embedded UNet's pipeline.
        folder: where the chunks are written.
        count: the number of pairs, a multiple of 5,000.
        device: where the teacher runs.
    """
    world, rank = world_and_rank()
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(rank, count // CHUNK, world) if not (folder / f"{n:04d}.pt").exists()]
    if not missing:
        return
    pipeline = StableDiffusionPipeline.from_pretrained(teacher, safety_checker=None, torch_dtype=torch.float32)
    pipeline.to(device)
    for chunk in missing:
        partial = folder / f"{chunk:04d}.partial"
        torch.save(trajectory_pairs(pipeline, (6, chunk), PROMPTS), partial)
        partial.replace(folder / f"{chunk:04d}.pt")


@torch.no_grad()
def trajectory_pairs(teacher: StableDiffusionPipeline, seed: tuple[int, int], prompts: int) -> dict[str, Tensor]:
    """All states of trajectories of stochastic DDIM, as pairs of a rectified flow.

    A state of the teacher is alpha x_0 + sigma e with alpha^2 + sigma^2 = 1; divided by alpha + sigma it is the flow's
    (1 - s) x_0 + s e at s = sigma / (alpha + sigma).  The first states are pure noise, and stand for the levels between
    the teacher's last, 0.936, and 1.
    """
    device = teacher.unet.device
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed[0] * 100_000 + seed[1])
    captions = [training_caption(scene, rng) for scene in scenes_of((*seed, 1), prompts)]
    tokens = teacher.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    text = teacher.text_encoder(tokens.to(device)).last_hidden_state
    alphas = teacher.scheduler.alphas_cumprod.to(device)
    times = (torch.arange(STEPS)[:, None] - torch.rand(STEPS, prompts, generator=generator)) / (STEPS - 1)
    times = ((1 - times.clamp(0, 1)) * (len(alphas) - 1)).long().to(device)  # [STEPS, prompts], the first ones 999
    x = torch.randn(prompts, 8, 8, 8, generator=generator).to(device)
    pairs = []
    for step, t in enumerate(times):
        cumulative = alphas[t].view(-1, 1, 1, 1)
        alpha, sigma = cumulative.sqrt(), (1 - cumulative).sqrt()
        with autocast(device):
            velocity = teacher.unet(x, t, text).sample.float()
        x_0, noise = alpha * x - sigma * velocity, sigma * x + alpha * velocity
        s = sigma / (alpha + sigma)
        if step == 0:
            s = s + (1 - s) * torch.rand(s.shape, generator=generator).to(device)
            noisy = x * ((1 - s).square() + s.square()).sqrt()
            pairs.append((noisy, s, (noisy - x_0) / s))
        else:
            pairs.append((x / (alpha + sigma), s, noise - x_0))
        if step + 1 < STEPS:
            following = alphas[times[step + 1]].view(-1, 1, 1, 1)
            std = ((1 - following) / (1 - cumulative) * (1 - cumulative / following).clamp_min(0)).sqrt()
            x = following.sqrt() * x_0 + (1 - following - std.square()).sqrt() * noise
            x = x + std * torch.randn(x.shape, generator=generator).to(device)
    noisy, s, velocity = (torch.cat(parts).cpu() for parts in zip(*pairs, strict=True))
    return {
        "noisy": noisy.half(),
        "sigma": s.flatten(),
        "velocity": velocity.half(),
        "tokens": tokens.short().repeat(STEPS, 1),
    }
