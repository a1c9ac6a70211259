"""The operations as `torch.library` operators: Triton on "cuda" (ROCm too), the torch reference on "cpu".

Registered with fake tensors and autograd, so that `torch.compile(fullgraph=True)`, autocast and `opcheck` work.
Under TRITON_INTERPRET=1 a CPU runs the Triton kernels too, interpreted.  There is no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddpo_kernels.backend import INTERPRETING
from ddpo_kernels.loss import Statistics, reference_loss_and_gradient
from ddpo_kernels.noise import reference_normal
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
    x_prev = x_t.new_empty(x_t.shape if target_kind == "noise" else (0,))
    mean = table.new_empty(x_t.shape if with_mean else (0,))
    log_prob = table.new_empty(batch if target_kind != "none" else 0)
    return x_prev, mean, log_prob, table.new_empty(batch if reference_kind != "none" else 0)


@torch.library.custom_op("ddpo_kernels::step_backward", mutates_args=(), device_types=DEVICES)
def step_backward(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    x_prev: Tensor | None, reference: Tensor | None, reference_kind: str,
    by_log_prob: Tensor | None, by_kl: Tensor | None, by_x_prev: Tensor | None,
) -> Tensor:  # fmt: skip
    """Gradient of the model output, in its shape and dtype."""
    given = step_of(model_output, x_t, table, index, guidance_scale, clip)
    backward: Any = reference_backward
    if fused_on(x_t):
        from ddpo_kernels.launch import launch_backward as backward
    return backward(given, x_prev, reference, reference_kind, by_log_prob, by_kl, by_x_prev).contiguous()


@step_backward.register_fake
def _(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, guidance_scale: float, clip: float | None,
    x_prev: Tensor | None, reference: Tensor | None, reference_kind: str,
    by_log_prob: Tensor | None, by_kl: Tensor | None, by_x_prev: Tensor | None,
) -> Tensor:  # fmt: skip
    return torch.empty(model_output.shape, dtype=model_output.dtype, device=model_output.device)


@torch.library.custom_op("ddpo_kernels::normal", mutates_args=(), device_types=DEVICES)
def normal(key: int, samples: Tensor, steps: Tensor, shape: list[int]) -> Tensor:
    """Standard normal noise, [B, *shape]."""
    draw: Any = reference_normal
    if fused_on(samples):
        from ddpo_kernels.launch import launch_normal as draw
    return draw(key, samples, steps, shape)


@normal.register_fake
def _(key: int, samples: Tensor, steps: Tensor, shape: list[int]) -> Tensor:
    return torch.empty((len(samples), *shape), dtype=torch.float32, device=samples.device)


@torch.library.custom_op("ddpo_kernels::ppo_loss", mutates_args=(), device_types=DEVICES)
def ppo_loss(
    log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss [], statistics [3] and the gradient by log-prob [B]."""
    loss: Any = reference_loss_and_gradient
    if fused_on(log_prob):
        from ddpo_kernels.launch import launch_loss as loss
    return loss(log_prob, log_prob_old, advantages, clip_range)


@ppo_loss.register_fake
def _(log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float) -> tuple[Tensor, Tensor, Tensor]:
    make = log_prob_old.new_empty
    return make(()), make(len(Statistics._fields)), make(len(log_prob_old))


def remember_step(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:
    model_output, x_t, table, index, guidance_scale, clip, target, kind, reference, reference_kind, _ = inputs
    x_prev = output[0] if kind == "noise" else target
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
        by_log_prob, by_kl, sum(by_both) if by_both else None,
    )  # fmt: skip
    return gradient, *[None] * 10


def remember_loss(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[2])
    ctx.set_materialize_grads(False)


def differentiate_loss(ctx: Any, by_loss: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    (by_log_prob,) = ctx.saved_tensors
    return by_loss * by_log_prob, None, None, None


step.register_autograd(differentiate_step, setup_context=remember_step)
ppo_loss.register_autograd(differentiate_loss, setup_context=remember_loss)
