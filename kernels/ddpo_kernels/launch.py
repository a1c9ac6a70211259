"""Launches of the Triton kernels: how a latent is split, and what each launch is given.

Imports triton; everything else in the package does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ddpo_kernels.loss import Statistics
from ddpo_kernels.loss_kernels import ppo_loss
from ddpo_kernels.noise_kernels import normal
from ddpo_kernels.step import AffineStep, StepResult
from ddpo_kernels.step_kernels import step_backward, step_forward, step_totals

TILE = 2048  # elements a program handles: 8 a thread, two to four 128-bit loads in flight for each input
THREADS = 256
VECTOR = 8  # elements of a 128-bit access at 16 bits
LANES = 128  # samples that a program of the second stage or of the loss handles at once
COUNTERS = 512  # of noise that a program turns into four numbers each: 4 a thread, stored in 128 bits
WAVE = 64 if torch.version.hip else 32
OPTIONS = {"enable_fp_fusion": False}


@dataclass(frozen=True)
class Split:
    """How one latent is tiled; a function of its size alone, so that sums are the same bits at every batch size."""

    size: int

    @property
    def block(self) -> int:
        return min(TILE, max(16, triton.next_power_of_2(self.size)))

    @property
    def tiles(self) -> int:
        return triton.cdiv(self.size, self.block)

    @property
    def vector(self) -> int:
        return VECTOR if self.size % VECTOR == 0 else 1

    @property
    def warps(self) -> int:
        return max(1, self.block * THREADS // TILE // WAVE)


def dense(tensor: Tensor, vector: int) -> tuple[Tensor, int]:
    """A tensor whose samples are contiguous and aligned, and its batch stride in vectors.

    Views along the batch (chunks, every k-th latent of a trajectory) pass as they are; what is strided within a sample,
    or not aligned to 128 bits where the split counts on it, is copied.
    """
    inner = tensor[0].is_contiguous() if len(tensor) else True
    aligned = tensor.stride(0) % vector == 0 and (vector == 1 or tensor.data_ptr() % 16 == 0)
    if not (inner and aligned):
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    return tensor, tensor.stride(0) // vector


def row(tensor: Tensor | None, split: Split, otherwise: Tensor) -> tuple[Tensor, int]:
    """`dense`, or a pointer that is never read where there is no tensor."""
    return (otherwise, 0) if tensor is None else dense(tensor, split.vector)


def launch_forward(
    step: AffineStep,
    target: Tensor | None,
    target_kind: str,
    reference: Tensor | None,
    reference_kind: str,
    with_mean: bool,
) -> StepResult:
    """Two launches: the first leaves tile sums of z^2 and of the squared distance to the reference, [2, tiles, B]."""
    x_t, split = step.x_t, Split(step.x_t[0].numel())
    x_prev = x_t.new_empty(x_t.shape if target_kind == "noise" else 0)
    mean = step.table.new_empty(x_t.shape if with_mean else 0)
    sums = step.table.new_empty(2, split.tiles, len(x_t))
    output, output_stride = dense(step.model_output, split.vector)
    x, x_stride = dense(x_t, split.vector)
    given, target_stride = row(target, split, x)
    other, reference_stride = row(reference, split, x)
    step_forward[(split.tiles, len(x_t))](
        output, x, step.table, step.index, given, other, x_prev, mean, sums,
        output_stride, x_stride, target_stride, reference_stride, len(x_t),
        float(step.guidance_scale), float(step.clip or 0.0),
        SIZE=split.size, BLOCK=split.block, VECTOR=split.vector, GUIDED=len(output) != len(x_t),
        CLIP=step.clip is not None, TARGET=target_kind, REFERENCE=reference_kind, MEAN=with_mean,
        num_warps=split.warps, **OPTIONS,
    )  # fmt: skip
    batch, scored, has_kl = len(x_t), target_kind != "none", reference_kind != "none"
    log_prob = step.table.new_empty(batch if scored else 0)
    kl = step.table.new_empty(batch if has_kl else 0)
    step_totals[(triton.cdiv(batch, LANES),)](
        sums, step.table, step.index, log_prob, kl, batch,
        SIZE=split.size, TILES=split.tiles, BLOCK=LANES, SCORED=scored, KL=has_kl, num_warps=4, **OPTIONS,
    )  # fmt: skip
    return StepResult(x_prev, mean, log_prob, kl)


def launch_backward(
    step: AffineStep,
    x_prev: Tensor | None,
    reference: Tensor | None,
    reference_kind: str,
    by_log_prob: Tensor | None,
    by_kl: Tensor | None,
    by_x_prev: Tensor | None,
) -> Tensor:
    """Gradient of the model output, one launch; arguments as of `reference_backward`."""
    x_t, split = step.x_t, Split(step.x_t[0].numel())
    output, output_stride = dense(step.model_output, split.vector)
    gradient = torch.empty(output.shape, dtype=output.dtype, device=output.device)
    x, x_stride = dense(x_t, split.vector)
    scored = x_prev is not None and by_log_prob is not None
    kind = reference_kind if by_kl is not None else "none"
    stored, x_prev_stride = row(x_prev if scored else None, split, x)
    other, reference_stride = row(None if kind == "none" else reference, split, x)
    drawn, gradient_stride = row(by_x_prev, split, x)
    step_backward[(split.tiles, len(x_t))](
        output, x, step.table, step.index, stored, other,
        x if by_log_prob is None else by_log_prob.contiguous(), x if by_kl is None else by_kl.contiguous(), drawn,
        gradient,
        output_stride, x_stride, x_prev_stride, reference_stride, gradient_stride, len(x_t),
        float(step.guidance_scale), float(step.clip or 0.0),
        SIZE=split.size, BLOCK=split.block, VECTOR=split.vector, GUIDED=len(output) != len(x_t),
        CLIP=step.clip is not None, SCORED=scored, REFERENCE=kind, DRAWN=by_x_prev is not None,
        num_warps=split.warps, **OPTIONS,
    )  # fmt: skip
    return gradient


def launch_normal(key: int, samples: Tensor, steps: Tensor, shape: Sequence[int]) -> Tensor:
    """Noise [B, *shape], one launch; arguments as of `reference_normal`."""
    noise = torch.empty((len(samples), *shape), dtype=torch.float32, device=samples.device)
    quarter = triton.cdiv(noise[0].numel(), 4)
    block = min(COUNTERS, max(16, triton.next_power_of_2(quarter)))
    normal[(triton.cdiv(quarter, block), len(samples))](
        key, samples.contiguous(), steps.contiguous(), noise,
        SIZE=noise[0].numel(), QUARTER=quarter, BLOCK=block, num_warps=max(1, block // 4 // WAVE), **OPTIONS,
    )  # fmt: skip
    return noise


def launch_loss(
    log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss [], statistics [3] and the gradient by log-prob [B], one launch."""
    batch, make = len(log_prob_old), log_prob_old.new_empty
    loss, statistics, by_log_prob = make(()), make(len(Statistics._fields)), make(batch)
    ppo_loss[(1,)](
        log_prob.contiguous(), log_prob_old.contiguous(), advantages.contiguous(), loss, statistics, by_log_prob,
        batch, float(clip_range), BLOCK=LANES, CHUNKS=triton.cdiv(batch, LANES), num_warps=4, **OPTIONS,
    )  # fmt: skip
    return loss, statistics, by_log_prob
