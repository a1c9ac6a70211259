"""Standard normal noise that belongs to its sample: the same bits in torch and in Triton, on a CPU and on a GPU.

Philox words, keyed by (key, sample, step, place in the latent), become normal numbers by the transform of Box and
Muller (1958), written in operations that IEEE 754 rounds in one way: addition, multiplication and conversion of
integers.  Logarithm, sine and cosine are polynomials, the square root is Newton's, because libraries round theirs
differently (torch's fp32 square root on a CPU too), and no product is fused with a sum.  This file is the torch
reference; noise_kernels.py does the same in one launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ddpo_kernels.backend import Backend, fused
from ddpo_kernels.philox import philox

# Fits at Chebyshev's nodes within 2e-7, highest power first: -2 log(1 + f) / f of f, sqrt(1/2) sin(b) / b and
# sqrt(1/2) cos(b) of b^2.
LOG = (0.20268114, -0.32468379, 0.34494027, -0.3979713, 0.49940142, -0.66670227, 1.0000073, -1.9999999)
SINE = (-1.3791384e-4, 5.8916393e-3, -0.11785102, 0.70710677)
COSINE = (-9.6066424e-4, 0.029454548, -0.35355237, 0.70710677)
MANTISSA_BITS, MANTISSA = 23, 0x7FFFFF  # of fp32
SQRT_HALF = 0x3F3504F3  # as fp32 bits
TWO_LN_2 = 1.3862944
ROOT_BITS, ROOT_SHIFT, ROOT_SCALE = 0x5F1FFFF9, 2.38924456, -0.703952253  # 1 / sqrt(x) within 7e-4 (Kadlec 2010)
ANGLE = math.pi / 4 / 2**31  # a signed word to radians


def normal(key: int, samples: Tensor, steps: Tensor, shape: Sequence[int], backend: Backend = "auto") -> Tensor:
    """Standard normal noise, keyed by (key, sample, step): the rest of the batch, device and backend change no bit.

    Args:
        key: of a stream of noise, in [0, 2^64).
        samples: [B], int64, index of each sample in its stream, below 2^32; the noise is drawn on its device.
        steps: [B], int64, index of each sample's draw, below 2^32.
        shape: of one latent.
    Returns:
        [B, *shape], fp32, between -6.7 and 6.7.
    Raises:
        BackendUnavailable: for backend "triton" where it cannot run.
    """
    if fused(backend, samples):
        from ddpo_kernels import ops

        return ops.normal(key - (key >> 63 << 64), samples, steps, list(shape))  # an operator takes signed numbers
    return reference_normal(key, samples, steps, shape)


def reference_normal(key: int, samples: Tensor, steps: Tensor, shape: Sequence[int]) -> Tensor:
    """`normal` in torch operations: four numbers of each counter, at offset, offset + a quarter of the latent, ..."""
    size = math.prod(shape)
    offsets = torch.arange(-(-size // 4), device=samples.device)
    zero = offsets.new_zeros(1, 1)
    words = philox(key, (offsets[None], steps[:, None], samples[:, None], zero))  # [B, quarter] each
    noise = torch.cat(box_muller(torch.cat(words[:2], 1), torch.cat(words[2:], 1)), 1)
    return noise[:, :size].contiguous().view(-1, *shape)


def box_muller(radii: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent normal numbers of two words: sqrt(-2 log u) times a point of the unit circle.

    The point is (cos(b + pi / 4), sin(b + pi / 4)) with |b| <= pi / 4, and the words' lowest bits are its signs.
    """
    radius = square_root(minus_2_log(radii))
    b = (angles | 1).to(torch.int32).float().mul_(ANGLE)
    square = b * b
    cosine, sine = polynomial(COSINE, square), polynomial(SINE, square).mul_(b)
    return signed(cosine - sine, radii).mul_(radius), signed(cosine.add_(sine), angles).mul_(radius)


def minus_2_log(words: Tensor) -> Tensor:
    """-2 log(u), fp32, of u = (word | 1) / 2^32 in (0, 1]."""
    bits = (words | 1).float().view(torch.int32) - SQRT_HALF  # u = m / 2^halvings, sqrt(1/2) <= m < sqrt(2)
    halvings = (32 - (bits >> MANTISSA_BITS)).float()
    f = bits.bitwise_and_(MANTISSA).add_(SQRT_HALF).view(torch.float32).sub_(1)  # m - 1
    return polynomial(LOG, f).mul_(f).add_(halvings.mul_(TWO_LN_2))


def square_root(x: Tensor) -> Tensor:
    """sqrt(x), x >= 0, within 8e-7 relatively: two of Newton's steps towards 1 / sqrt(x), the second times x."""
    y = (x.view(torch.int32) >> 1).sub_(ROOT_BITS).neg_().view(torch.float32)
    y.mul_((x * y).mul_(y).sub_(ROOT_SHIFT).mul_(ROOT_SCALE))
    root = x * y
    return y.mul_(root).mul_(-0.5).add_(1.5).mul_(root)


def polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """By Horner's rule, each product rounded before it is added to."""
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value.add_(coefficient).mul_(x)
    return value.add_(coefficients[-1])


def signed(values: Tensor, words: Tensor) -> Tensor:
    """The values, negative where the word is odd; in place."""
    values.view(torch.int32).bitwise_xor_((words << 31).to(torch.int32))
    return values
