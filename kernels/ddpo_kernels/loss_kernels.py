"""Triton kernel of the policy loss: second stage of the sums, loss, gradients and statistics in one small launch."""

from __future__ import annotations

import triton
import triton.language as tl

from ddpo_kernels.step_kernels import total_kl, total_log_prob

SERIES_BELOW = tl.constexpr(0.1)  # |log ratio| under which exp(d) - 1 - d is a series: fp32 cancels


@triton.jit
def excess(d, ratio):
    """exp(d) - 1 - d, by its series where fp32 would cancel."""
    series = 1.0 + d / 6.0 * (1.0 + d / 7.0)
    series = 1.0 + d / 4.0 * (1.0 + d / 5.0 * series)
    series = d * d * 0.5 * (1.0 + d / 3.0 * series)
    return tl.where(tl.abs(d) < SERIES_BELOW, series, ratio - 1.0 - d)


@triton.jit(do_not_specialize=["batch"])
def policy_loss(
    sums, table, index, log_prob, kl, log_prob_old, advantages,
    loss, statistics, by_log_prob, by_kl,
    batch, clip_range, kl_weight,
    SIZE: tl.constexpr, TILES: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
    FROM_SUMS: tl.constexpr, CLIP: tl.constexpr, KL: tl.constexpr,
):  # fmt: skip
    """mean(max(-A r, -A clip(r, 1 - c, 1 + c)) + kl_weight * KL) over the batch, by a single program.

    FROM_SUMS: log-prob and KL come from tile sums [2, tiles, B], else from [B] values.  Statistics: ratio mean, clip
    fraction, k1, k2, k3, KL, largest |log ratio|.
    """
    inverse = 1.0 / batch
    losses = tl.zeros([BLOCK], tl.float32)
    ratios, clipped_share, k1, k2, k3, kls, largest = losses, losses, losses, losses, losses, losses, losses
    for chunk in tl.range(0, CHUNKS):
        samples = chunk * BLOCK + tl.arange(0, BLOCK)
        mask = samples < batch
        if FROM_SUMS:
            new = total_log_prob(sums, table, index, samples, mask, batch, SIZE, TILES)
        else:
            new = tl.load(log_prob + samples, mask=mask, other=0.0)
        old = tl.load(log_prob_old + samples, mask=mask, other=0.0)
        advantage = tl.load(advantages + samples, mask=mask, other=0.0)
        d = tl.where(mask, new - old, 0.0)
        ratio = tl.exp(d)
        objective = -advantage * ratio
        slope = objective
        if CLIP:
            inside = tl.clamp(ratio, 1.0 - clip_range, 1.0 + clip_range, propagate_nan=tl.PropagateNan.ALL)
            bounded = -advantage * inside
            slope = tl.where(objective < bounded, 0.0, objective)  # NaN stays
            objective = tl.maximum(objective, bounded, propagate_nan=tl.PropagateNan.ALL)
            clipped_share += tl.where(mask & (tl.abs(ratio - 1.0) > clip_range), 1.0, 0.0)
        tl.store(by_log_prob + samples, slope * inverse, mask=mask)
        if KL:
            if FROM_SUMS:
                divergence = total_kl(sums, samples, mask, batch, SIZE, TILES)
            else:
                divergence = tl.load(kl + samples, mask=mask, other=0.0)
            divergence = tl.where(mask, divergence, 0.0)
            objective = tl.fma(kl_weight, divergence, objective)
            kls += divergence
            tl.store(by_kl + samples, tl.zeros_like(d) + kl_weight * inverse, mask=mask)
        losses += tl.where(mask, objective, 0.0)
        ratios += tl.where(mask, ratio, 0.0)
        k1 -= d
        k2 += 0.5 * d * d
        k3 += excess(d, ratio)
        largest = tl.maximum(largest, tl.abs(d), propagate_nan=tl.PropagateNan.ALL)
    tl.store(loss, tl.sum(losses) * inverse)
    tl.store(statistics, tl.sum(ratios) * inverse)
    tl.store(statistics + 1, tl.sum(clipped_share) * inverse)
    tl.store(statistics + 2, tl.sum(k1) * inverse)
    tl.store(statistics + 3, tl.sum(k2) * inverse)
    tl.store(statistics + 4, tl.sum(k3) * inverse)
    tl.store(statistics + 5, tl.sum(kls) * inverse)
    tl.store(statistics + 6, tl.max(largest) + 0.0 * tl.sum(largest))  # a maximum that NaN gets through
