"""AdamW with gradient clipping, and the averages of an update; on a GPU no step of it waits for the host."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ddpo_bench import processes
from ddpo_bench.whole_tensors import for_checkpoint, is_sharded, placed_like, whole


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
        """Over all processes, which have added values of the same names."""
        sums, maxima = ({name: float(value) for name, value in of.items()} for of in (self.sums, self.maxima))
        everyones = processes.everyones((sums, self.weights, maxima))
        summed, weights = ({name: sum(one[i][name] for one in everyones) for name in sums} for i in (0, 1))
        means = {name: total / weights[name] for name, total in summed.items()}
        return means | {name: max(one[2][name] for one in everyones) for name in maxima}


class NonFiniteGradient(ArithmeticError):
    """A gradient that holds NaN or infinity: learning diverged, or could not begin."""


class Optimiser:
    """AdamW on clipped gradients, which remembers their norms until `metrics` asks for them."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        adam_epsilon: float,
        max_grad_norm: float,
        rate: str = "learning_rate",
    ):
        """Start with empty moments.

        Args:
            parameters: what is trained.
            adam_epsilon: what AdamW adds to the root of its second moment.
            max_grad_norm: norm to which larger gradients are scaled down.
            rate: the algorithm's option to lower where these parameters diverge.
        """
        self.parameters = list(parameters)
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.max_grad_norm, self.rate = max_grad_norm, rate
        self.adamw = torch.optim.AdamW(
            self.parameters, lr=learning_rate, weight_decay=weight_decay, eps=adam_epsilon, fused=True
        )
        self.norms: list[Tensor] = []

    def step(self) -> None:
        """Sum the gradients over processes, clip them, step and clear them."""
        if not self.norms:
            self.is_new = not self.adamw.state
        plain = [weight.grad for weight in self.parameters if weight.grad is not None and not is_sharded(weight)]
        processes.sum_in_place(plain)  # FSDP has summed the others
        self.norms.append(whole(nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)))
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def metrics(self) -> dict[str, float]:
        """`grad_norm` and `grad_rms` before clipping, averaged over the steps since the last call; empty without any.

        To be called at the end of every update: no step waits for the host, so that it is here that a gradient which
        is not finite is found, before anything of it is saved.

        Raises:
            NonFiniteGradient: where a step had such a gradient.
        """
        norms = torch.stack(self.norms).tolist() if self.norms else []
        self.norms = []
        for index, norm in enumerate(norms):
            if not math.isfinite(norm):
                raise NonFiniteGradient(self.cause(norm, is_first=self.is_new and index == 0))
        if not norms:
            return {}
        mean = sum(norms) / len(norms)
        return {"grad_norm": mean, "grad_rms": mean / math.sqrt(self.size)}

    def cause(self, norm: float, is_first: bool) -> str:
        if is_first:
            return (
                f"the gradient norm of the first update is {norm}, before anything was learned: the backward pass "
                "overflows. Set policy.precision: fp32, or lower policy.guidance_scale."
            )
        return f"the gradient norm is {norm}: learning diverged; lower algorithm.{self.rate}."

    def state_dict(self) -> dict[str, Any]:
        state = self.adamw.state_dict()
        moments = {
            index: {name: for_checkpoint(value) for name, value in of.items()} for index, of in state["state"].items()
        }
        return state | {"state": moments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        moments = {index: self.placed(of, self.parameters[index]) for index, of in state["state"].items()}
        self.adamw.load_state_dict(state | {"state": moments})

    def placed(self, moments: dict[str, Tensor], parameter: nn.Parameter) -> dict[str, Tensor]:
        """What a checkpoint holds of a parameter, sharded as the parameter is; `step` is one number."""
        return {name: placed_like(value, parameter) if value.ndim else value for name, value in moments.items()}
