"""Triton kernels of a denoising step: forward (sample, log-prob and KL sums), their second stage, and backward.

One program handles one tile of one sample, and the tiling depends on the latent's size alone: the sums of a sample are
the same bits at every batch size, in sampling and in learning.  No atomics, no autotuning.  Floating-point fusion is
off and `tl.fma` is written where it is meant, so that every kernel forms the mean with the same roundings.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG_SQRT_2PI = tl.constexpr(0.9189385332046727)
COLUMNS = tl.constexpr(8)  # of the coefficient table
UNROLL = tl.constexpr(16)  # partial sums in flight in the second stage


@triton.jit
def load_row(pointer, row, stride, offsets, mask, VECTOR: tl.constexpr):
    """A tile of one row in fp32; the stride counts vectors of VECTOR elements, which tells the compiler how far rows
    are aligned."""
    return tl.load(pointer + row * stride * VECTOR + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def load_guided(pointer, sample, batch, stride, offsets, mask, scale, GUIDED: tl.constexpr, VECTOR: tl.constexpr):
    """uncond + scale * (cond - uncond) of a model output [2B, ...], or the output [B, ...] as it is."""
    first = load_row(pointer, sample, stride, offsets, mask, VECTOR)
    if GUIDED:
        conditional = load_row(pointer, sample + batch, stride, offsets, mask, VECTOR)
        first = tl.fma(scale, conditional - first, first)
    return first


@triton.jit
def predicted_x0(row, x, m):
    return tl.fma(tl.load(row + 3), m, tl.load(row + 2) * x)


@triton.jit
def form_mean(row, x, m, clip, CLIP: tl.constexpr):
    """on_x * x + on_m * m, and on_clipped * clip(x0) where the schedule clips."""
    mean = tl.fma(tl.load(row + 1), m, tl.load(row) * x)
    if CLIP:
        x0 = tl.clamp(predicted_x0(row, x, m), -clip, clip, propagate_nan=tl.PropagateNan.ALL)
        mean = tl.fma(tl.load(row + 4), x0, mean)
    return mean


@triton.jit
def distance(row, x, m, mean, reference, clip, CLIP: tl.constexpr, REFERENCE: tl.constexpr):
    """(mean - reference mean) / sigma, from the reference's mean or from its model output."""
    if REFERENCE == "mean":
        difference = mean - reference
    elif CLIP:
        difference = mean - form_mean(row, x, reference, clip, CLIP)
    else:
        difference = tl.load(row + 1) * (m - reference)  # without two means, whose difference would cancel
    return difference * tl.load(row + 6)


@triton.jit(do_not_specialize=["output_stride", "x_stride", "target_stride", "reference_stride", "batch"])
def step_forward(
    model_output, x_t, table, index, target, reference, x_prev_out, mean_out, sums,
    output_stride, x_stride, target_stride, reference_stride, batch, guidance_scale, clip,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, VECTOR: tl.constexpr, GUIDED: tl.constexpr, CLIP: tl.constexpr,
    TARGET: tl.constexpr, REFERENCE: tl.constexpr, MEAN: tl.constexpr,
):  # fmt: skip
    """Sums over one tile: z^2 into sums[0, tile, sample], the squared distance to the reference into sums[1, ...].

    TARGET: "x_prev" is scored; "noise" draws x_prev, which is rounded as stored before it is scored; "none" leaves
    the log-prob out.
    """
    tile, sample = tl.program_id(0), tl.program_id(1).to(tl.int64)
    offsets = tile * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < SIZE
    row = table + tl.load(index + sample) * COLUMNS
    x = load_row(x_t, sample, x_stride, offsets, mask, VECTOR)
    m = load_guided(model_output, sample, batch, output_stride, offsets, mask, guidance_scale, GUIDED, VECTOR)
    mean = form_mean(row, x, m, clip, CLIP)
    if MEAN:
        tl.store(mean_out + sample * (SIZE // VECTOR) * VECTOR + offsets, mean, mask=mask)
    if TARGET != "none":
        if TARGET == "x_prev":
            x_prev = load_row(target, sample, target_stride, offsets, mask, VECTOR)
        else:
            noise = load_row(target, sample, target_stride, offsets, mask, VECTOR)
            stored = tl.fma(tl.load(row + 5), noise, mean).to(x_prev_out.dtype.element_ty)
            tl.store(x_prev_out + sample * (SIZE // VECTOR) * VECTOR + offsets, stored, mask=mask)
            x_prev = stored.to(tl.float32)
        z = tl.where(mask, (x_prev - mean) * tl.load(row + 6), 0.0)
        tl.store(sums + tile * batch + sample, tl.sum(z * z))
    if REFERENCE != "none":
        GUIDED_REFERENCE: tl.constexpr = GUIDED and REFERENCE == "output"
        other = load_guided(
            reference, sample, batch, reference_stride, offsets, mask, guidance_scale, GUIDED_REFERENCE, VECTOR
        )
        d = tl.where(mask, distance(row, x, m, mean, other, clip, CLIP, REFERENCE), 0.0)
        tl.store(sums + (tl.num_programs(0) + tile) * batch + sample, tl.sum(d * d))


@triton.jit
def mean_square(sums, samples, mask, batch, SIZE: tl.constexpr, TILES: tl.constexpr):
    """Tile sums added in order, one sample a lane, and divided by the latent's size."""
    total = tl.zeros_like(samples).to(tl.float32)
    for tile in tl.range(0, TILES, loop_unroll_factor=UNROLL):
        total += tl.load(sums + tile * batch + samples, mask=mask, other=0.0)
    return total * (1.0 / SIZE)


@triton.jit
def total_log_prob(sums, table, index, samples, mask, batch, SIZE: tl.constexpr, TILES: tl.constexpr):
    """Log-prob of each sample in mean units."""
    log_std = tl.load(table + tl.load(index + samples, mask=mask, other=0) * COLUMNS + 7, mask=mask, other=0.0)
    return -0.5 * mean_square(sums, samples, mask, batch, SIZE, TILES) - log_std - LOG_SQRT_2PI


@triton.jit
def total_kl(sums, samples, mask, batch, SIZE: tl.constexpr, TILES: tl.constexpr):
    """KL of each sample in mean units."""
    return 0.5 * mean_square(sums + TILES * batch, samples, mask, batch, SIZE, TILES)


@triton.jit(do_not_specialize=["batch"])
def step_totals(
    sums, table, index, log_prob, kl, batch,
    SIZE: tl.constexpr, TILES: tl.constexpr, BLOCK: tl.constexpr, SCORED: tl.constexpr, KL: tl.constexpr,
):  # fmt: skip
    """The second stage: tile sums [2, tiles, B] to log-prob [B] and KL [B]."""
    samples = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = samples < batch
    if SCORED:
        tl.store(log_prob + samples, total_log_prob(sums, table, index, samples, mask, batch, SIZE, TILES), mask=mask)
    if KL:
        tl.store(kl + samples, total_kl(sums, samples, mask, batch, SIZE, TILES), mask=mask)


@triton.jit(
    do_not_specialize=["output_stride", "x_stride", "x_prev_stride", "reference_stride", "gradient_stride", "batch"]
)
def step_backward(
    model_output, x_t, table, index, x_prev, reference, by_log_prob, by_kl, by_x_prev, gradient,
    output_stride, x_stride, x_prev_stride, reference_stride, gradient_stride, batch, guidance_scale, clip,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, VECTOR: tl.constexpr, GUIDED: tl.constexpr, CLIP: tl.constexpr,
    SCORED: tl.constexpr, REFERENCE: tl.constexpr, DRAWN: tl.constexpr,
):  # fmt: skip
    """Gradient of the model output, from those of log-prob [B], KL [B] and a drawn x_prev [B, ...].

    With z = (x_prev - mean) / sigma and d = (mean - reference) / sigma,
        by mean = (by_log_prob * z + by_kl * d) / (sigma * SIZE) + by_x_prev.
    """
    tile, sample = tl.program_id(0), tl.program_id(1).to(tl.int64)
    offsets = tile * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < SIZE
    row = table + tl.load(index + sample) * COLUMNS
    x = load_row(x_t, sample, x_stride, offsets, mask, VECTOR)
    m = load_guided(model_output, sample, batch, output_stride, offsets, mask, guidance_scale, GUIDED, VECTOR)
    mean = form_mean(row, x, m, clip, CLIP)
    inverse_std = tl.load(row + 6)
    weight = inverse_std * (1.0 / SIZE)
    by_mean = tl.zeros([BLOCK], tl.float32)
    if SCORED:
        z = (load_row(x_prev, sample, x_prev_stride, offsets, mask, VECTOR) - mean) * inverse_std
        by_mean = (tl.load(by_log_prob + sample) * weight) * z
    if REFERENCE != "none":
        GUIDED_REFERENCE: tl.constexpr = GUIDED and REFERENCE == "output"
        other = load_guided(
            reference, sample, batch, reference_stride, offsets, mask, guidance_scale, GUIDED_REFERENCE, VECTOR
        )
        d = distance(row, x, m, mean, other, clip, CLIP, REFERENCE)
        by_mean = tl.fma(tl.load(by_kl + sample) * weight, d, by_mean)
    if DRAWN:
        by_mean += load_row(by_x_prev, sample, gradient_stride, offsets, mask, VECTOR)
    on_m = tl.load(row + 1)
    by_m = by_mean * on_m
    if CLIP:
        x0 = predicted_x0(row, x, m)
        through = tl.where((x0 >= -clip) & (x0 <= clip), tl.load(row + 4) * tl.load(row + 3), 0.0)
        by_m = tl.fma(by_mean, through, by_m)
    dtype = gradient.dtype.element_ty
    first = gradient + sample * (SIZE // VECTOR) * VECTOR + offsets
    if GUIDED:
        second = gradient + (sample + batch) * (SIZE // VECTOR) * VECTOR + offsets
        tl.store(first, ((1.0 - guidance_scale) * by_m).to(dtype), mask=mask)
        tl.store(second, (guidance_scale * by_m).to(dtype), mask=mask)
    else:
        tl.store(first, by_m.to(dtype), mask=mask)
