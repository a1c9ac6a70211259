"""Counter-based normal noise (Philox 4x32-10, Salmon et al. 2011), keyed by (seed of the sample, step, offset).

The torch reference of the noise that the step kernel can draw itself; like the kernel's own, it depends on neither
batch nor device.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
COSINE_SERIES = (7.903536, -26.426256, 60.244641, -85.456817, 64.939394, -19.739209, 1.0)  # in squared turns


def philox(seeds: Tensor, counters: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Four 32-bit words for each counter, as int64 in [0, 2^32)."""
    c0, c1, c2, c3 = counters
    k0, k1 = seeds & LOW, (seeds >> 32) & LOW
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2  # 64-bit products, wrapping
        c0, c1, c2, c3 = (second >> 32) & LOW ^ c1 ^ k0, second & LOW, (first >> 32) & LOW ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


def uniform(words: Tensor) -> Tensor:
    """32-bit words to fp32 in [0, 1)."""
    signed = torch.where(words > LOW // 2, LOW - words, words)  # -x - 1 of the word read as a signed integer
    return signed.float() * 4.6566127342e-10


def cosine_of_turns(turns: Tensor) -> Tensor:
    """cos(2 pi turns) for turns in [0, 1), by the series that the kernel uses: tl.cos wants a stack."""
    distance_to_half = (turns - 0.5).abs()  # cos(2 pi turns) = -cos(2 pi distance_to_half)
    square = torch.minimum(distance_to_half, 0.5 - distance_to_half).square()
    series = torch.full_like(turns, COSINE_SERIES[0])
    for coefficient in COSINE_SERIES[1:]:
        series = series * square + coefficient
    return torch.where(distance_to_half < 0.25, -series, series)


def philox_normal(seeds: Tensor, step: Tensor, shape: torch.Size) -> Tensor:
    """Standard normal noise.

    Args:
        seeds: [B], int64, one a sample.
        step: [B], int64, index of the denoising step.
        shape: [B, ...].
    Returns:
        fp32 of that shape (Box-Muller).
    """
    offsets = torch.arange(shape[1:].numel(), device=seeds.device)[None]
    zero = torch.zeros_like(offsets)
    first, second, _, _ = philox(seeds[:, None], (offsets, step[:, None] + zero, zero, zero))
    radius = (-2 * uniform(first).clamp_min(1.0e-7).log()).sqrt()
    return (radius * cosine_of_turns(uniform(second))).view(shape)
