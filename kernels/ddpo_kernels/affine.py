"""What callers use: draw a step, score it, and learn from it, fused where the backend allows it.

`backend="auto"` runs the Triton kernels on CUDA and ROCm devices for fp32, bf16 and fp16 inputs and the torch
reference elsewhere; "torch" is always the reference, twice differentiable and capable of float64.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ddpo_kernels import ops
from ddpo_kernels.backend import Backend, fused
from ddpo_kernels.loss import PolicyLoss, reference_policy_loss
from ddpo_kernels.step import AffineStep, ReferenceKind, StepResult, TargetKind, reference_forward


def arguments(step: AffineStep) -> tuple[Any, ...]:
    return step.model_output, step.x_t, step.table, step.index, step.guidance_scale, step.clip


def without_gradients(results: tuple[Tensor, ...]) -> PolicyLoss:
    """What of an operator's results is the caller's: the loss is differentiable, its statistics are not."""
    return PolicyLoss(results[0], results[1].detach())


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
    noise: Tensor | None = None,
    seeds: Tensor | None = None,
    with_mean: bool = False,
    backend: Backend = "auto",
) -> StepResult:
    """Draw x_prev = mean + sigma * noise and its log-prob; x_prev is differentiable (reparameterised).

    The log-prob is that of x_prev as it is stored: in x_t's dtype, after rounding.

    Args:
        noise: [B, ...], standard normal, in x_t's dtype.
        seeds: [B], int64; in place of noise, which is then drawn by Philox, keyed by (seed, step, offset).
        with_mean: also return the mean, the behaviour policy of an exact KL.
    Raises:
        ValueError: unless exactly one of noise and seeds is given, noise in x_t's dtype.
        BackendUnavailable: for backend "triton" where it cannot run.
    """
    if (noise is None) == (seeds is None):
        raise ValueError("sample: give either noise or seeds.")
    if noise is not None and noise.dtype != step.x_t.dtype:
        raise ValueError(f"sample: noise is {noise.dtype}, but x_t is {step.x_t.dtype}.")
    if noise is None:
        return run(step, seeds, "seeds", None, "none", with_mean, backend)
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


def step_loss(
    step: AffineStep,
    x_prev: Tensor,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float | None = None,
    kl_weight: float = 0.0,
    reference: Tensor | None = None,
    reference_kind: ReferenceKind = "mean",
    backend: Backend = "auto",
) -> PolicyLoss:
    """`policy_loss` of a stored step: with the fused kernels, three launches from model output to its gradient.

    Args:
        x_prev, reference, reference_kind: as in `score`.
        log_prob_old, advantages, clip_range, kl_weight: as in `policy_loss`.
    """
    kind: ReferenceKind = "none" if reference is None else reference_kind
    if fused(backend, step.model_output, step.x_t, step.table, x_prev, reference, log_prob_old, advantages):
        given = (x_prev, reference, kind, log_prob_old, advantages, clip_range, kl_weight)
        return without_gradients(ops.step_loss(*arguments(step), *given))
    _, _, log_prob, kl = reference_forward(step, x_prev, "x_prev", reference, kind, False)
    return reference_policy_loss(log_prob, log_prob_old, advantages, clip_range, kl_weight, kl if len(kl) else None)


def policy_loss(
    log_prob: Tensor,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float | None = None,
    kl_weight: float = 0.0,
    kl: Tensor | None = None,
    backend: Backend = "auto",
) -> PolicyLoss:
    """mean(max(-A r, -A clip(r, 1 - c, 1 + c)) + kl_weight * KL), r = exp(log_prob - log_prob_old).

    Args:
        log_prob, log_prob_old, advantages: [B]; log-probs in mean units.
        clip_range: c of PPO, or None for the plain importance-weighted objective.
        kl_weight: beta of the penalty on kl [B].
    """
    if fused(backend, log_prob, log_prob_old, advantages, kl):
        return without_gradients(ops.policy_loss(log_prob, kl, log_prob_old, advantages, clip_range, kl_weight))
    return reference_policy_loss(log_prob, log_prob_old, advantages, clip_range, kl_weight, kl)
