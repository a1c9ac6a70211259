"""Triton kernel of standard normal noise: the same operations as noise.py, and so the same bits.

Floating-point fusion is off, so that each product is rounded before it is added to.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ddpo_kernels import noise as reference

MANTISSA_BITS = tl.constexpr(reference.MANTISSA_BITS)
MANTISSA = tl.constexpr(reference.MANTISSA)
SQRT_HALF = tl.constexpr(reference.SQRT_HALF)
TWO_LN_2 = tl.constexpr(reference.TWO_LN_2)
ROOT_BITS = tl.constexpr(reference.ROOT_BITS)
ROOT_SCALE = tl.constexpr(reference.ROOT_SCALE)
ROOT_SHIFT = tl.constexpr(reference.ROOT_SHIFT)
ANGLE = tl.constexpr(reference.ANGLE)
LOG = tl.constexpr(reference.LOG)
SINE = tl.constexpr(reference.SINE)
COSINE = tl.constexpr(reference.COSINE)


@triton.jit
def polynomial(coefficients: tl.constexpr, x, DEGREE: tl.constexpr):
    value = x * coefficients[0]
    for place in tl.static_range(1, DEGREE):
        value = (value + coefficients[place]) * x
    return value + coefficients[DEGREE]


@triton.jit
def minus_2_log(words):
    """-2 log(u) of u = (word | 1) / 2^32 in (0, 1]."""
    bits = (words | 1).to(tl.float32).to(tl.int32, bitcast=True) - SQRT_HALF
    halvings = (32 - (bits >> MANTISSA_BITS)).to(tl.float32)
    f = ((bits & MANTISSA) + SQRT_HALF).to(tl.float32, bitcast=True) - 1.0
    return polynomial(LOG, f, 7) * f + halvings * TWO_LN_2


@triton.jit
def square_root(x):
    """sqrt(x) by Newton's steps."""
    y = (-((x.to(tl.int32, bitcast=True) >> 1) - ROOT_BITS)).to(tl.float32, bitcast=True)
    y = y * (((x * y) * y - ROOT_SHIFT) * ROOT_SCALE)
    root = x * y
    return ((y * root) * -0.5 + 1.5) * root


@triton.jit
def signed(values, words):
    """The values, negative where the word is odd."""
    return (values.to(tl.uint32, bitcast=True) ^ (words << 31)).to(tl.float32, bitcast=True)


@triton.jit
def box_muller(radii, angles):
    radius = square_root(minus_2_log(radii))
    b = (angles | 1).to(tl.int32, bitcast=True).to(tl.float32) * ANGLE
    square = b * b
    cosine, sine = polynomial(COSINE, square, 3), polynomial(SINE, square, 3) * b
    return signed(cosine - sine, radii) * radius, signed(cosine + sine, angles) * radius


@triton.jit(do_not_specialize=["key"])
def normal(key, samples, steps, noise, SIZE: tl.constexpr, QUARTER: tl.constexpr, BLOCK: tl.constexpr):
    """Four numbers of each counter (offset, step, sample, 0), at offset, offset + QUARTER, ... of a latent."""
    row = tl.program_id(1).to(tl.int64)
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    zero = offsets * 0
    step, sample = tl.load(steps + row).to(tl.int32), tl.load(samples + row).to(tl.int32)
    first, second, third, fourth = tl.philox(key, offsets, zero + step, zero + sample, zero)
    a, c = box_muller(first, third)
    b, d = box_muller(second, fourth)
    at = noise + row * SIZE + offsets
    tl.store(at, a, mask=offsets < QUARTER)
    tl.store(at + QUARTER, b, mask=offsets < min(QUARTER, SIZE - QUARTER))
    tl.store(at + 2 * QUARTER, c, mask=offsets < min(QUARTER, SIZE - 2 * QUARTER))
    tl.store(at + 3 * QUARTER, d, mask=offsets < SIZE - 3 * QUARTER)
