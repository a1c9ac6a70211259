"""One optimiser step of any algorithm, and the averages of what its micro-batches tell."""

from __future__ import annotations

import torch
from torch import Tensor


class Averages:
    """Running means and maxima of named scalars, which stay on their device until they are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, float | Tensor] = {}
        self.weights: dict[str, float] = {}
        self.maxima: dict[str, Tensor] = {}

    def add(self, name: str, value: float | Tensor, weight: float = 1.0) -> None:
        exact = value.detach().double() if isinstance(value, Tensor) else value
        self.sums[name] = self.sums.get(name, 0.0) + exact * weight
        self.weights[name] = self.weights.get(name, 0.0) + weight

    def add_maximum(self, name: str, value: Tensor) -> None:
        self.maxima[name] = torch.maximum(self.maxima.get(name, value), value)

    def result(self) -> dict[str, float]:
        means = {name: float(total) / self.weights[name] for name, total in self.sums.items()}
        return means | {name: float(value) for name, value in self.maxima.items()}


class NonFiniteGradient(ArithmeticError):
    """A gradient that holds NaN or infinity: learning diverged, or could not begin."""


def step(
    optimiser: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    max_grad_norm: float,
    rate: str = "learning_rate",
) -> float:
    """Clip, step and clear; returns the gradient norm before clipping.

    Args:
        rate: the algorithm's option to lower where these parameters diverge.
    Raises:
        NonFiniteGradient: instead of stepping into NaN.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm).item()
    if not norm < float("inf"):
        if not optimiser.state:
            raise NonFiniteGradient(
                f"the gradient norm of the first update is {norm}, before anything was learned: the backward pass "
                "overflows. Set policy.precision: fp32, or lower policy.guidance_scale."
            )
        raise NonFiniteGradient(f"the gradient norm is {norm}: learning diverged; lower algorithm.{rate}.")
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm
