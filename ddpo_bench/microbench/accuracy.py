"""How far a result is from the same operation in float64."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ddpo_bench.microbench.calls import bind
from ddpo_bench.microbench.inputs import Inputs

GRADIENTS = ("backward", "loss", "learning_step")


def exact_result(operation: str, inputs: Inputs) -> tuple[Tensor, ...]:
    """The operation on the same inputs in float64, by the torch path."""
    [call] = bind("eager", operation, [inputs.double()])
    return tuple(value.detach() for value in call())


def error(operation: str, result: tuple[Tensor, ...], exact: tuple[Tensor, ...], inputs: Inputs) -> float:
    """Largest absolute error of log-prob and KL, or of a gradient relative to its largest element.

    A drawn x_prev is judged by its log-prob: that of the sample as it was stored, rounded.
    """
    if operation == "sample":
        x_prev, log_prob = result
        result, exact = (log_prob,), exact_result("score", replace(inputs, x_prev=x_prev))
    largest = max((a.double() - b).abs().max().item() for a, b in zip(result, exact, strict=True))
    return largest / exact[0].abs().max().item() if operation in GRADIENTS else largest
