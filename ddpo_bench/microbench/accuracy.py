"""The error of a result, measured against the same operation in float64."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ddpo_bench.microbench.calls import bind
from ddpo_bench.microbench.inputs import Inputs

GRADIENTS = ("backward", "loss", "learning_step")


def exact_result(operation: str, inputs: Inputs) -> tuple[Tensor, ...]:
    """The result of the operation on the same inputs in float64, by the torch path."""
    [call] = bind("eager", operation, [inputs.double()])
    return tuple(value.detach() for value in call())


def error(operation: str, result: tuple[Tensor, ...], exact: tuple[Tensor, ...], inputs: Inputs) -> float:
    """The largest absolute error of log-prob and KL; for a gradient, relative to its largest element.

    A sampled x_prev is judged by its log-prob, which must be that of the rounded sample as stored.
    """
    if operation == "sample":
        x_prev, log_prob = result
        result, exact = (log_prob,), exact_result("score", replace(inputs, x_prev=x_prev))
    largest = max((a.double() - b).abs().max().item() for a, b in zip(result, exact, strict=True))
    return largest / exact[0].abs().max().item() if operation in GRADIENTS else largest
