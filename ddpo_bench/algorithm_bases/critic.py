"""Value networks over noisy latents: spatial, conditioned on the step and the prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTHS = (32, 64)  # channels at full resolution, and after the first stride
SMALLEST_SIDE = 4  # strided convolutions halve the latent down to this
STEP_FEATURES = 32


class Critic(nn.Module):
    """V(x, step, prompt) of one latent.

    Args:
        latent_shape: C, H, W.
        steps: T; step indices run from 0 (x_T) to T (x_0).
        text_dim: width of the prompt embeddings.
    """

    def __init__(self, latent_shape: tuple[int, int, int], steps: int, text_dim: int):
        super().__init__()
        channels, height, width = latent_shape
        self.steps = steps
        self.stem = nn.Conv2d(channels, WIDTHS[0], 3, padding=1)
        strides = max(1, math.ceil(math.log2(max(1, min(height, width) / SMALLEST_SIDE))))
        inputs = (WIDTHS[0], *(WIDTHS[1],) * (strides - 1))
        self.downs = nn.ModuleList(nn.Conv2d(i, WIDTHS[1], 3, stride=2, padding=1) for i in inputs)
        self.film = nn.Sequential(
            nn.Linear(STEP_FEATURES + text_dim, 2 * WIDTHS[1]), nn.SiLU(), nn.Linear(2 * WIDTHS[1], 2 * WIDTHS[1])
        )
        self.norm = nn.GroupNorm(8, WIDTHS[1])
        self.body = nn.Conv2d(WIDTHS[1], WIDTHS[1], 3, padding=1)
        self.head = nn.Sequential(nn.Linear(2 * WIDTHS[1], WIDTHS[1]), nn.SiLU(), nn.Linear(WIDTHS[1], 1))

    def forward(self, x: Tensor, step: Tensor, text: Tensor) -> Tensor:
        """x: [B, C, H, W]; step: [B], 0..T; text: [B, D], pooled; returns [B]."""
        h = nn.functional.silu(self.stem(x))
        for down in self.downs:
            h = nn.functional.silu(down(h))
        scale, shift = self.film(torch.cat([self.step_features(step), text], 1)).chunk(2, dim=1)  # [B, width] each
        h = self.norm(h) * (1 + scale[..., None, None]) + shift[..., None, None]
        h = nn.functional.silu(self.body(nn.functional.silu(h))).flatten(2)
        return self.head(torch.cat([h.mean(2), h.amax(2)], 1)).squeeze(1)

    def step_features(self, step: Tensor) -> Tensor:
        """Cosines of the step's place in the trajectory, [B, STEP_FEATURES]."""
        place = step.float()[:, None] / self.steps
        return torch.cos(math.pi * place * torch.arange(STEP_FEATURES, device=step.device))


class Twins(nn.Module):
    """Two independent critics; their minimum counters over-estimation (Fujimoto et al. 2018)."""

    def __init__(self, latent_shape: tuple[int, int, int], steps: int, text_dim: int):
        super().__init__()
        self.critics = nn.ModuleList(Critic(latent_shape, steps, text_dim) for _ in range(2))

    def forward(self, x: Tensor, step: Tensor, text: Tensor) -> Tensor:
        """[2, B]."""
        return torch.stack([critic(x, step, text) for critic in self.critics])
