"""Triton kernel of PPO's loss: loss, gradient and statistics of a batch of log-probs in one small launch."""

from __future__ import annotations

import triton
import triton.language as tl

SERIES_BELOW = tl.constexpr(0.1)  # |log ratio| under which exp(d) - 1 - d is a series: fp32 cancels


@triton.jit
def excess(d, ratio):
    """exp(d) - 1 - d, by its series where fp32 would cancel."""
    series = 1.0 + d / 6.0 * (1.0 + d / 7.0)
    series = 1.0 + d / 4.0 * (1.0 + d / 5.0 * series)
    series = d * d * 0.5 * (1.0 + d / 3.0 * series)
    return tl.where(tl.abs(d) < SERIES_BELOW, series, ratio - 1.0 - d)


@triton.jit(do_not_specialize=["batch"])
def ppo_loss(
    log_prob, log_prob_old, advantages, loss, statistics, by_log_prob, batch, clip_range,
    BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """mean(max(-A r, -A clip(r, 1 - c, 1 + c))) over the batch, by a single program.

    Statistics: clip fraction, k1, k3.
    """
    inverse = 1.0 / batch
    losses = tl.zeros([BLOCK], tl.float32)
    clipped_share, k1, k3 = losses, losses, losses
    for chunk in tl.range(0, CHUNKS):
        samples = chunk * BLOCK + tl.arange(0, BLOCK)
        mask = samples < batch
        new = tl.load(log_prob + samples, mask=mask, other=0.0)
        old = tl.load(log_prob_old + samples, mask=mask, other=0.0)
        advantage = tl.load(advantages + samples, mask=mask, other=0.0)
        d = tl.where(mask, new - old, 0.0)
        ratio = tl.exp(d)
        objective = -advantage * ratio
        inside = tl.clamp(ratio, 1.0 - clip_range, 1.0 + clip_range, propagate_nan=tl.PropagateNan.ALL)
        bounded = -advantage * inside
        slope = tl.where(objective < bounded, 0.0, objective)  # NaN stays
        objective = tl.maximum(objective, bounded, propagate_nan=tl.PropagateNan.ALL)
        tl.store(by_log_prob + samples, slope * inverse, mask=mask)
        losses += tl.where(mask, objective, 0.0)
        clipped_share += tl.where(mask & (tl.abs(ratio - 1.0) > clip_range), 1.0, 0.0)
        k1 -= d
        k3 += excess(d, ratio)
    tl.store(loss, tl.sum(losses) * inverse)
    tl.store(statistics, tl.sum(clipped_share) * inverse)
    tl.store(statistics + 1, tl.sum(k1) * inverse)
    tl.store(statistics + 2, tl.sum(k3) * inverse)
