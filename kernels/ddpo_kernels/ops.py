"""The operations as `torch.library` operators: Triton on "cuda" (ROCm too), the torch reference on "cpu".

Registered with fake tensors and autograd, so that `torch.compile(fullgraph=True)`, autocast and `opcheck` work.
Under TRITON_INTERPRET=1 a CPU runs the Triton kernels too, interpreted.  There is no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddpo_kernels.backend import INTERPRETING
from ddpo_kernels.loss import STATISTICS, reference_loss_and_gradients
from ddpo_kernels.step import AffineStep, reference_backward, reference_forward

DEVICES = ("cpu", "cuda")
Four = tuple[Tensor, Tensor, Tensor, Tensor]


def fused_on(tensor: Tensor) -> bool:
    return tensor.is_cuda or INTERPRETING


def step_of(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None
) -> AffineStep:
    """A step whose rows the kernels can find without strides."""
    return AffineStep(model_output, x_t, table.contiguous(), index.contiguous(), guidance_scale, clip)


@torch.library.custom_op("ddpo_kernels::step", mutates_args=(), device_types=DEVICES)
def step(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    target: Tensor | None, target_kind: str, reference: Tensor | None, reference_kind: str, with_mean: bool,
) -> Four:  # fmt: skip
    """x_prev, mean, log-prob and KL of a step; those not asked for are empty."""
    target = target.contiguous() if target is not None and target_kind == "seeds" else target
    given = step_of(model_output, x_t, table, index, guidance_scale, clip)
    forward: Any = reference_forward
    if fused_on(x_t):
        from ddpo_kernels.launch import launch_forward as forward
    results = forward(given, target, target_kind, reference, reference_kind, with_mean)
    return tuple(result.contiguous() for result in results)


@step.register_fake
def _(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    target: Tensor | None, target_kind: str, reference: Tensor | None, reference_kind: str, with_mean: bool,
) -> Four:  # fmt: skip
    batch = len(x_t)
    x_prev = x_t.new_empty(x_t.shape if target_kind in ("noise", "seeds") else (0,))
    mean = table.new_empty(x_t.shape if with_mean else (0,))
    log_prob = table.new_empty(batch if target_kind != "none" else 0)
    return x_prev, mean, log_prob, table.new_empty(batch if reference_kind != "none" else 0)


@torch.library.custom_op("ddpo_kernels::step_backward", mutates_args=(), device_types=DEVICES)
def step_backward(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    x_prev: Tensor | None, reference: Tensor | None, reference_kind: str,
    by_log_prob: Tensor | None, by_kl: Tensor | None, by_x_prev: Tensor | None, scale: Tensor | None,
) -> Tensor:  # fmt: skip
    """Gradient of the model output, in its shape and dtype."""
    given = step_of(model_output, x_t, table, index, guidance_scale, clip)
    backward: Any = reference_backward
    if fused_on(x_t):
        from ddpo_kernels.launch import launch_backward as backward
    return backward(given, x_prev, reference, reference_kind, by_log_prob, by_kl, by_x_prev, scale).contiguous()


@step_backward.register_fake
def _(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    x_prev: Tensor | None, reference: Tensor | None, reference_kind: str,
    by_log_prob: Tensor | None, by_kl: Tensor | None, by_x_prev: Tensor | None, scale: Tensor | None,
) -> Tensor:  # fmt: skip
    return torch.empty(model_output.shape, dtype=model_output.dtype, device=model_output.device)


@torch.library.custom_op("ddpo_kernels::step_loss", mutates_args=(), device_types=DEVICES)
def step_loss(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    x_prev: Tensor, reference: Tensor | None, reference_kind: str,
    log_prob_old: Tensor, advantages: Tensor, clip_range: float | None, kl_weight: float,
) -> Four:  # fmt: skip
    """Loss [], statistics [7] and its gradients by log-prob [B] and by KL [B] (or empty)."""
    given = step_of(model_output, x_t, table, index, guidance_scale, clip)
    if fused_on(x_t):
        from ddpo_kernels.launch import launch_loss, launch_sums

        sums = launch_sums(given, x_prev, "x_prev", reference, reference_kind, False)[2]
        return launch_loss(given, sums, None, None, log_prob_old, advantages, clip_range, kl_weight)
    _, _, log_prob, kl = reference_forward(given, x_prev, "x_prev", reference, reference_kind, False)
    return reference_loss_and_gradients(
        log_prob, kl if len(kl) else None, log_prob_old, advantages, clip_range, kl_weight
    )


@step_loss.register_fake
def _(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    x_prev: Tensor, reference: Tensor | None, reference_kind: str,
    log_prob_old: Tensor, advantages: Tensor, clip_range: float | None, kl_weight: float,
) -> Four:  # fmt: skip
    return fake_loss(log_prob_old, reference_kind != "none")


@torch.library.custom_op("ddpo_kernels::policy_loss", mutates_args=(), device_types=DEVICES)
def policy_loss(
    log_prob: Tensor, kl: Tensor | None, log_prob_old: Tensor, advantages: Tensor,
    clip_range: float | None, kl_weight: float,
) -> Four:  # fmt: skip
    """As `step_loss`, from log-prob [B] and KL [B]."""
    if fused_on(log_prob):
        from ddpo_kernels.launch import launch_loss

        return launch_loss(None, None, log_prob, kl, log_prob_old, advantages, clip_range, kl_weight)
    return reference_loss_and_gradients(log_prob, kl, log_prob_old, advantages, clip_range, kl_weight)


@policy_loss.register_fake
def _(
    log_prob: Tensor, kl: Tensor | None, log_prob_old: Tensor, advantages: Tensor,
    clip_range: float | None, kl_weight: float,
) -> Four:  # fmt: skip
    return fake_loss(log_prob_old, kl is not None)


def fake_loss(like: Tensor, has_kl: bool) -> Four:
    batch = len(like)
    return like.new_empty(()), like.new_empty(len(STATISTICS)), like.new_empty(batch), like.new_empty(batch * has_kl)


def remember_step(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:
    model_output, x_t, table, index, guidance_scale, clip, target, kind, reference, reference_kind, _ = inputs
    x_prev = output[0] if kind in ("noise", "seeds") else target
    ctx.save_for_backward(model_output, x_t, table, index, x_prev, reference)
    ctx.settings = guidance_scale, clip, reference_kind
    ctx.set_materialize_grads(False)


def differentiate_step(
    ctx: Any, by_x_prev: Tensor | None, by_mean: Tensor | None, by_log_prob: Tensor | None, by_kl: Tensor | None
) -> tuple[Tensor | None, ...]:
    model_output, x_t, table, index, x_prev, reference = ctx.saved_tensors
    guidance_scale, clip, reference_kind = ctx.settings
    by_both = [gradient for gradient in (by_x_prev, by_mean) if gradient is not None and gradient.numel()]
    gradient = step_backward(
        model_output, x_t, table, index, guidance_scale, clip, x_prev, reference, reference_kind,
        by_log_prob, by_kl, sum(by_both) if by_both else None, None,
    )  # fmt: skip
    return gradient, *[None] * 10


def remember_step_loss(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:
    model_output, x_t, table, index, guidance_scale, clip, x_prev, reference, reference_kind, *_, kl_weight = inputs
    ctx.save_for_backward(model_output, x_t, table, index, x_prev, reference, output[2], output[3])
    ctx.settings = guidance_scale, clip, reference_kind, bool(kl_weight)
    ctx.set_materialize_grads(False)


def differentiate_step_loss(ctx: Any, by_loss: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    model_output, x_t, table, index, x_prev, reference, by_log_prob, by_kl = ctx.saved_tensors
    guidance_scale, clip, reference_kind, penalised = ctx.settings
    gradient = step_backward(
        model_output, x_t, table, index, guidance_scale, clip, x_prev, reference, reference_kind,
        by_log_prob, by_kl if penalised and len(by_kl) else None, None, by_loss,
    )  # fmt: skip
    return gradient, *[None] * 12


def remember_policy_loss(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:
    ctx.save_for_backward(output[2], output[3])
    ctx.has_kl = inputs[1] is not None
    ctx.set_materialize_grads(False)


def differentiate_policy_loss(ctx: Any, by_loss: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    by_log_prob, by_kl = ctx.saved_tensors
    return by_loss * by_log_prob, by_loss * by_kl if ctx.has_kl else None, None, None, None, None


step.register_autograd(differentiate_step, setup_context=remember_step)
step_loss.register_autograd(differentiate_step_loss, setup_context=remember_step_loss)
policy_loss.register_autograd(differentiate_policy_loss, setup_context=remember_policy_loss)
