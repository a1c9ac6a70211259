"""Launches of the Triton kernels: how a latent is split, and what each launch is given.

Imports triton; everything else in the package does without.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ddpo_kernels.loss import STATISTICS
from ddpo_kernels.loss_kernels import policy_loss
from ddpo_kernels.step import AffineStep, StepResult
from ddpo_kernels.step_kernels import step_backward, step_forward, step_totals

TILE = 2048  # elements a program handles: 8 a thread, two to four 128-bit loads in flight for each input
THREADS = 256
VECTOR = 8  # elements of a 128-bit access at 16 bits
LANES = 128  # samples that a program of the second stage or of the loss handles at once
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


@dataclass(frozen=True)
class Sums:
    """What the first stage leaves behind.

    Attributes:
        values: [2, tiles, B], of z^2 and of the squared distance to the reference, by tile.
        scored, kl: which of the two there are.
    """

    values: Tensor
    split: Split
    scored: bool
    kl: bool


def launch_sums(
    step: AffineStep,
    target: Tensor | None,
    target_kind: str,
    reference: Tensor | None,
    reference_kind: str,
    with_mean: bool,
) -> tuple[Tensor, Tensor, Sums]:
    """The first stage, one launch: x_prev and mean (or empty), and tile sums."""
    x_t, split = step.x_t, Split(step.x_t[0].numel())
    x_prev = x_t.new_empty(x_t.shape if target_kind in ("noise", "seeds") else 0)
    mean = step.table.new_empty(x_t.shape if with_mean else 0)
    sums = step.table.new_empty(2, split.tiles, len(x_t))
    output, output_stride = dense(step.model_output, split.vector)
    x, x_stride = dense(x_t, split.vector)
    given, target_stride = row(target, split, x) if target_kind != "seeds" else (target, 0)
    other, reference_stride = row(reference, split, x)
    step_forward[(split.tiles, len(x_t))](
        output, x, step.table, step.index, given, other, x_prev, mean, sums,
        output_stride, x_stride, target_stride, reference_stride, len(x_t),
        float(step.guidance_scale), float(step.clip or 0.0),
        SIZE=split.size, BLOCK=split.block, VECTOR=split.vector, GUIDED=len(output) != len(x_t),
        CLIP=step.clip is not None, TARGET=target_kind, REFERENCE=reference_kind, MEAN=with_mean,
        num_warps=split.warps, **OPTIONS,
    )  # fmt: skip
    return x_prev, mean, Sums(sums, split, target_kind != "none", reference_kind != "none")


def launch_forward(
    step: AffineStep,
    target: Tensor | None,
    target_kind: str,
    reference: Tensor | None,
    reference_kind: str,
    with_mean: bool,
) -> StepResult:
    """Both stages, two launches."""
    x_prev, mean, sums = launch_sums(step, target, target_kind, reference, reference_kind, with_mean)
    batch = len(step.x_t)
    log_prob = step.table.new_empty(batch if sums.scored else 0)
    kl = step.table.new_empty(batch if sums.kl else 0)
    step_totals[(triton.cdiv(batch, LANES),)](
        sums.values, step.table, step.index, log_prob, kl, batch,
        SIZE=sums.split.size, TILES=sums.split.tiles, BLOCK=LANES, SCORED=sums.scored, KL=sums.kl,
        num_warps=4, **OPTIONS,
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
    scale: Tensor | None,
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
        x if scale is None else scale, gradient,
        output_stride, x_stride, x_prev_stride, reference_stride, gradient_stride, len(x_t),
        float(step.guidance_scale), float(step.clip or 0.0),
        SIZE=split.size, BLOCK=split.block, VECTOR=split.vector, GUIDED=len(output) != len(x_t),
        CLIP=step.clip is not None, SCORED=scored, REFERENCE=kind, DRAWN=by_x_prev is not None,
        SCALED=scale is not None, num_warps=split.warps, **OPTIONS,
    )  # fmt: skip
    return gradient


def launch_loss(
    step: AffineStep | None,
    sums: Sums | None,
    log_prob: Tensor | None,
    kl: Tensor | None,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float | None,
    kl_weight: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss [], statistics [7], gradients of log-prob [B] and KL [B] (or empty), one launch.

    Args:
        step, sums: a step and its tile sums; or
        log_prob, kl: [B] each, kl where there is one.
    """
    batch, make = len(log_prob_old), log_prob_old.new_empty
    has_kl = kl is not None if sums is None else sums.kl
    loss, statistics, by_log_prob, by_kl = make(()), make(len(STATISTICS)), make(batch), make(batch if has_kl else 0)
    unread = loss
    policy_loss[(1,)](
        unread if sums is None else sums.values,
        unread if step is None else step.table,
        unread if step is None else step.index,
        unread if log_prob is None else log_prob.contiguous(),
        unread if kl is None else kl.contiguous(),
        log_prob_old.contiguous(), advantages.contiguous(), loss, statistics, by_log_prob, by_kl,
        batch, float(clip_range or 0.0), float(kl_weight),
        SIZE=1 if sums is None else sums.split.size, TILES=1 if sums is None else sums.split.tiles,
        BLOCK=LANES, CHUNKS=triton.cdiv(batch, LANES), FROM_SUMS=sums is not None,
        CLIP=clip_range is not None, KL=has_kl, num_warps=4, **OPTIONS,
    )  # fmt: skip
    return loss, statistics, by_log_prob, by_kl
