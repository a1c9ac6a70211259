"""Latents as the tokens of FLUX and Qwen-Image: 2 x 2 latents are packed into one."""

from __future__ import annotations

import torch
from torch import Tensor

PATCH = 2


def packed(latents: Tensor) -> Tensor:
    """Tokens [B, H/2 * W/2, 4 C] of latents [B, C, H, W]."""
    batch, channels, height, width = latents.shape
    rows, columns = height // PATCH, width // PATCH
    tokens = latents.view(batch, channels, rows, PATCH, columns, PATCH).permute(0, 2, 4, 1, 3, 5)
    return tokens.reshape(batch, rows * columns, channels * PATCH**2)


def unpacked(tokens: Tensor, shape: torch.Size) -> Tensor:
    """Latents of a shape, [B, C, H, W], of their tokens."""
    batch, channels, height, width = shape
    rows, columns = height // PATCH, width // PATCH
    return tokens.view(batch, rows, columns, channels, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5).reshape(shape)


def positions(latents: Tensor) -> Tensor:
    """FLUX's positions of the tokens, [H/2 * W/2, 3]: 0, row and column."""
    rows, columns = (side // PATCH for side in latents.shape[2:])
    made = latents.new_zeros(rows, columns, 3)
    made[..., 1] = torch.arange(rows, device=latents.device)[:, None]
    made[..., 2] = torch.arange(columns, device=latents.device)
    return made.view(rows * columns, 3)
