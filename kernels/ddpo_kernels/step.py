"""A denoising step as an affine Gaussian: its torch reference, forward and backward.

The reference is what a CPU runs, computes in the dtype of the coefficient table (float64 for proofs), and is what the
Triton kernels in step_kernels.py are tested against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ddpo_kernels.gaussian import LOG_SQRT_2PI
from ddpo_kernels.table import COLUMNS

TargetKind = Literal["none", "x_prev", "noise"]
ReferenceKind = Literal["none", "mean", "output"]


@dataclass(frozen=True)
class AffineStep:
    """What determines N(mean, sigma^2 I) of x_{t-1}, for a batch whose samples may be at different steps.

    Attributes:
        model_output: [2B, ...] as (uncond, cond) under classifier-free guidance, or [B, ...].
        x_t: [B, ...].
        table: [T, 8], of `coefficient_table`, on the same device; fp32, or float64 for the torch reference.
        index: [B], int64, the row of each sample.
        guidance_scale: of uncond + scale * (cond - uncond).
        clip: predicted x_0 is clipped to [-clip, clip], or None.
        formed: the mean in torch operations, once it was differentiated.
    """

    model_output: Tensor
    x_t: Tensor
    table: Tensor
    index: Tensor
    guidance_scale: float = 1.0
    clip: float | None = None
    formed: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)


class StepResult(NamedTuple):
    """Tensors of a step; those that were not asked for are empty.

    Attributes:
        x_prev: [B, ...], drawn, in x_t's dtype.
        mean: [B, ...], in the table's dtype.
        log_prob: [B], of x_prev as it is stored, mean units.
        kl: [B], exact KL to the reference, mean units.
    """

    x_prev: Tensor
    mean: Tensor
    log_prob: Tensor
    kl: Tensor


class Coefficients:
    """Columns of the table for each sample, [B, 1, ...]."""

    def __init__(self, step: AffineStep):
        columns = step.table[step.index].unbind(1)
        shaped = [column.view(-1, *[1] * (step.x_t.ndim - 1)) for column in columns]
        self.on_x, self.on_m, self.x0_on_x, self.x0_on_m, self.on_clipped, self.std, self.inverse_std, _ = shaped
        self.log_std = columns[-1]  # [B]


def guided(model_output: Tensor, batch: int, guidance_scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): uncond + scale * (cond - uncond).

    Args:
        model_output: [2B, C, H, W] as (uncond, cond), or [B, C, H, W], which is returned as it is.
        batch: B.
    Returns:
        [B, C, H, W].
    """
    if len(model_output) == batch:
        return model_output
    unconditional, conditional = model_output.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)


def mean_of(step: AffineStep, model_output: Tensor, k: Coefficients) -> Tensor:
    """The mean that a model output gives, [B, ...], in the table's dtype."""
    x = step.x_t.to(step.table.dtype)
    m = guided(model_output.to(step.table.dtype), len(x), step.guidance_scale)
    mean = torch.addcmul(k.on_x * x, k.on_m, m)
    if step.clip is None:
        return mean
    x0 = torch.addcmul(k.x0_on_x * x, k.x0_on_m, m).clamp(-step.clip, step.clip)
    return torch.addcmul(mean, k.on_clipped, x0)


def form_mean(step: AffineStep, k: Coefficients | None = None) -> Tensor:
    """The mean of x_{t-1}, [B, ...], in the table's dtype; differentiable in the model output.

    With gradients it is formed once, so that those of log-prob and of KL meet in it.
    """
    if "mean" in step.formed:
        return step.formed["mean"]
    mean = mean_of(step, step.model_output, k or Coefficients(step))
    if torch.is_grad_enabled():
        step.formed["mean"] = mean
    return mean


def std(step: AffineStep) -> Tensor:
    """Standard deviation of x_{t-1}, [B], in the table's dtype."""
    return step.table[step.index, COLUMNS.index("std")]


def distance(step: AffineStep, mean: Tensor, reference: Tensor, kind: str, k: Coefficients) -> Tensor:
    """(mean - reference mean) / sigma, [B, ...]; the reference is never differentiated."""
    reference = reference.detach()
    if kind == "output" and step.clip is None:  # without forming the two means, whose difference would cancel
        batch, dtype = len(step.x_t), step.table.dtype
        ours = guided(step.model_output.to(dtype), batch, step.guidance_scale)
        return (ours - guided(reference.to(dtype), batch, step.guidance_scale)) * (k.on_m * k.inverse_std)
    other = mean_of(step, reference, k) if kind == "output" else reference.to(step.table.dtype)
    return (mean - other) * k.inverse_std


def half_mean_square(values: Tensor) -> Tensor:
    """[B, ...] to [B]."""
    return 0.5 * values.square().flatten(1).mean(1)


def reference_forward(
    step: AffineStep,
    target: Tensor | None,
    target_kind: str,
    reference: Tensor | None,
    reference_kind: str,
    with_mean: bool,
) -> StepResult:
    """The step in plain torch operations, differentiable in the model output."""
    k = Coefficients(step)
    mean = form_mean(step, k)
    x_prev, log_prob, kl = step.x_t.new_empty(0), mean.new_empty(0), mean.new_empty(0)
    if target is not None:
        stored = target
        if target_kind == "noise":
            stored = x_prev = torch.addcmul(mean, k.std, target.to(mean.dtype)).to(step.x_t.dtype)
        z = (stored.detach().to(mean.dtype) - mean) * k.inverse_std  # of the sample as it is stored
        log_prob = -half_mean_square(z) - k.log_std - LOG_SQRT_2PI
    if reference is not None:
        kl = half_mean_square(distance(step, mean, reference, reference_kind, k))
    return StepResult(x_prev, mean if with_mean else mean.new_empty(0), log_prob, kl)


def reference_backward(
    step: AffineStep,
    x_prev: Tensor | None,
    reference: Tensor | None,
    reference_kind: str,
    by_log_prob: Tensor | None,
    by_kl: Tensor | None,
    by_x_prev: Tensor | None,
) -> Tensor:
    """Gradient of the model output, in its dtype, from those of log-prob [B], KL [B] and a drawn x_prev [B, ...]."""
    k = Coefficients(step)
    mean = mean_of(step, step.model_output, k)
    weight = k.inverse_std / mean[0].numel()
    by_mean = torch.zeros_like(mean)
    if x_prev is not None and by_log_prob is not None:
        z = (x_prev.to(mean.dtype) - mean) * k.inverse_std
        by_mean = (by_log_prob.view_as(weight) * weight) * z
    if reference is not None and by_kl is not None:
        d = distance(step, mean, reference, reference_kind, k)
        by_mean = torch.addcmul(by_mean, by_kl.view_as(weight) * weight, d)
    if by_x_prev is not None:
        by_mean = by_mean + by_x_prev
    by_m = by_mean * k.on_m
    if step.clip is not None:
        m = guided(step.model_output.to(mean.dtype), len(mean), step.guidance_scale)
        x0 = torch.addcmul(k.x0_on_x * step.x_t.to(mean.dtype), k.x0_on_m, m)
        by_m = torch.addcmul(by_m, by_mean, torch.where(x0.abs() <= step.clip, k.on_clipped * k.x0_on_m, 0))
    if len(step.model_output) == len(mean):
        return by_m.to(step.model_output.dtype)
    return torch.cat([(1 - step.guidance_scale) * by_m, step.guidance_scale * by_m]).to(step.model_output.dtype)
