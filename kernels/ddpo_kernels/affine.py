"""What callers use: draw a step, score it, and learn from it, fused where the backend allows it.

`backend="auto"` runs the Triton kernels on CUDA and ROCm devices for fp32, bf16 and fp16 inputs and the torch
reference elsewhere; "torch" is always the reference, twice differentiable and capable of float64.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ddpo_kernels import ops
from ddpo_kernels.backend import Backend, fused
from ddpo_kernels.loss import Statistics, reference_ppo_loss
from ddpo_kernels.step import AffineStep, ReferenceKind, StepResult, TargetKind, reference_forward


def arguments(step: AffineStep) -> tuple[Any, ...]:
    return step.model_output, step.x_t, step.table, step.index, step.guidance_scale, step.clip


def run(
    step: AffineStep,
    target: Tensor | None,
    target_kind: TargetKind,
    reference: Tensor | None,
    reference_kind: ReferenceKind,
    with_mean: bool,
    backend: Backend,
) -> StepResult:
    given = (target, target_kind, reference, reference_kind, with_mean)
    if fused(backend, step.model_output, step.x_t, step.table, target, reference):
        return StepResult(*ops.step(*arguments(step), *given))
    return reference_forward(step, *given)


def sample(
    step: AffineStep,
    noise: Tensor,
    with_mean: bool = False,
    backend: Backend = "auto",
) -> StepResult:
    """Draw x_prev = mean + sigma * noise and its log-prob; x_prev is differentiable (reparameterised).

    The log-prob is that of x_prev as it is stored: in x_t's dtype, after rounding.

    Args:
        noise: [B, ...], standard normal, in x_t's dtype.
        with_mean: also return the mean, the behaviour policy of an exact KL.
    Raises:
        ValueError: where the noise is in another dtype.
        BackendUnavailable: for backend "triton" where it cannot run.
    """
    if noise.dtype != step.x_t.dtype:
        raise ValueError(f"sample: noise is {noise.dtype}, but x_t is {step.x_t.dtype}.")
    return run(step, noise, "noise", None, "none", with_mean, backend)


def score(
    step: AffineStep,
    x_prev: Tensor | None = None,
    reference: Tensor | None = None,
    reference_kind: ReferenceKind = "mean",
    backend: Backend = "auto",
) -> StepResult:
    """Log-prob of a stored x_prev, and exact KL to a reference; differentiable in the model output alone.

    Args:
        x_prev: [B, ...], in x_t's dtype, or None for the KL alone.
        reference: mean [B, ...] ("mean") or model output ("output", shaped as the step's own) of another policy at the
            same x_t and step, or None.
    Raises:
        BackendUnavailable: for backend "triton" where it cannot run.
    """
    target_kind: TargetKind = "none" if x_prev is None else "x_prev"
    return run(step, x_prev, target_kind, reference, "none" if reference is None else reference_kind, False, backend)


def ppo_loss(
    log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float, backend: Backend = "auto"
) -> tuple[Tensor, Statistics]:
    """mean(max(-A r, -A clip(r, 1 - c, 1 + c))), r = exp(log_prob - log_prob_old), and what it saw.

    Args:
        log_prob, log_prob_old, advantages: [B]; log-probs in mean units.  The loss is differentiable in log_prob.
        clip_range: c.
    Raises:
        BackendUnavailable: for backend "triton" where it cannot run.
    """
    given = (log_prob, log_prob_old, advantages, clip_range)
    if fused(backend, log_prob, log_prob_old, advantages):
        loss, statistics, _ = ops.ppo_loss(*given)
        return loss, Statistics(*statistics.detach().unbind())
    loss, statistics = reference_ppo_loss(*given)
    return loss, Statistics(*statistics.unbind())
