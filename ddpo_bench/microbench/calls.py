"""The implementations to compare; each operation is bound to its inputs as a call without arguments."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ddpo_kernels
import torch
from ddpo_kernels import AffineStep, Backend
from ddpo_kernels.backend import unavailable
from torch import Tensor
from torch._functorch import config as functorch_config

from ddpo_bench.microbench import reference
from ddpo_bench.microbench.inputs import CLIP_RANGE, Inputs
from ddpo_bench.microbench.schedule import GUIDANCE

IMPLEMENTATIONS = ("reference", "eager", "compile", "triton")
Call = Callable[[], tuple[Tensor, ...]]
STEP = ("model_output", "x_t", "table", "index")
ARGUMENTS = {
    "sample": (*STEP, "noise"),
    "score": (*STEP, "x_prev"),
    "score_kl": (*STEP, "x_prev", "reference"),
    "backward": (*STEP, "x_prev"),
    "loss": ("log_prob", "log_prob_old", "advantages"),
    "learning_step": (*STEP, "x_prev", "log_prob_old", "advantages"),
}


def sample(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, noise: Tensor, backend: Backend
) -> tuple[Tensor, Tensor]:
    drawn = ddpo_kernels.sample(AffineStep(model_output, x_t, table, index, GUIDANCE), noise, backend=backend)
    return drawn.x_prev, drawn.log_prob


def score(
    model_output: Tensor, x_t: Tensor, table: Tensor, index: Tensor, x_prev: Tensor, backend: Backend
) -> tuple[Tensor]:
    step = AffineStep(model_output, x_t, table, index, GUIDANCE)
    return (ddpo_kernels.score(step, x_prev, backend=backend).log_prob,)


def score_kl(
    model_output: Tensor,
    x_t: Tensor,
    table: Tensor,
    index: Tensor,
    x_prev: Tensor,
    reference: Tensor,
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    step = AffineStep(model_output, x_t, table, index, GUIDANCE)
    scored = ddpo_kernels.score(step, x_prev, reference, "mean", backend=backend)
    return scored.log_prob, scored.kl


def loss(log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float, backend: Backend) -> Tensor:
    return ddpo_kernels.ppo_loss(log_prob, log_prob_old, advantages, clip_range, backend)[0]


def learning_step(
    model_output: Tensor,
    x_t: Tensor,
    table: Tensor,
    index: Tensor,
    x_prev: Tensor,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float,
    backend: Backend,
) -> Tensor:
    (log_prob,) = score(model_output, x_t, table, index, x_prev, backend)
    return loss(log_prob, log_prob_old, advantages, clip_range, backend)


FORWARD: dict[str, Callable[..., Any]] = {
    "sample": sample,
    "score": score,
    "score_kl": score_kl,
    "backward": score,
    "loss": loss,
    "learning_step": learning_step,
}


def not_measured(implementation: str, device: torch.device) -> str | None:
    """Why an implementation cannot be measured on a device; None where it can."""
    if implementation == "triton":
        if device.type == "cpu":  # the interpreter could run the kernels, but not tell their speed
            return unavailable(device.type) or "the interpreter's time says nothing about the kernels"
        return unavailable(device.type)
    if implementation == "compile" and device.type == "cpu":
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        return None if shutil.which(compiler) else f"there is no C++ compiler ({compiler})"
    return None


def bind(implementation: str, operation: str, sets: Sequence[Inputs]) -> list[Call]:
    """One call for each set of inputs; it returns a tuple of tensors, or of one gradient."""
    forward = forward_of(implementation, operation)
    names = ARGUMENTS[operation]
    if implementation == "reference" and "table" in names:
        names = ("model_output", "x_t", "timestep", *names[len(STEP) :])
    arguments = [tuple(getattr(inputs, name) for name in names) for inputs in sets]
    if operation == "sample":
        return [partial(without_graph, forward, given) for given in arguments]
    if operation == "backward":
        return [
            partial(differentiate_again, *scored_to_keep(forward, given), given[0], inputs.by_log_prob)
            for given, inputs in zip(arguments, sets, strict=True)
        ]
    if operation in ("loss", "learning_step"):
        return [partial(learn, forward, given) for given in arguments]
    return [partial(forward, *given) for given in arguments]


def forward_of(implementation: str, operation: str) -> Callable[..., Any]:
    """An implementation of an operation as a function of tensors; `backward` differentiates that of `score`."""
    settings = {"clip_range": CLIP_RANGE} if operation in ("loss", "learning_step") else {}
    if implementation == "reference":
        name = "score" if operation == "backward" else operation
        return partial(getattr(reference, name), **settings)
    forward = FORWARD[operation]
    if implementation == "compile":
        torch._dynamo.reset()  # so that no case reuses the graphs of another
        forward = torch.compile(forward, dynamic=False, fullgraph=True)
    return partial(forward, **settings, backend="triton" if implementation == "triton" else "torch")


def without_graph(forward: Callable[..., Any], arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return forward(*arguments)


def scored_to_keep(forward: Callable[..., Any], arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
    """A log-prob whose graph can be differentiated more than once, compiled or not."""
    with functorch_config.patch(donated_buffer=False):
        return forward(*arguments)


def differentiate_again(log_prob: Tensor, model_output: Tensor, by_log_prob: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(log_prob, model_output, by_log_prob, retain_graph=True)


def learn(forward: Callable[..., Any], arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradient of a loss with respect to its first argument."""
    return torch.autograd.grad(forward(*arguments), arguments[0])
