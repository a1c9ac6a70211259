"""An exponential moving average of the trained weights, which evaluations use in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from ddpo_bench.copies import swap
from ddpo_bench.protocols import Policy
from ddpo_bench.whole_tensors import copy_whole, for_checkpoint


class Ema:
    """average = decay * average + (1 - decay) * weights, after every optimiser step; it begins as the weights.

    Without a decay it keeps nothing, and evaluations use the weights themselves.
    """

    def __init__(self, policy: Policy, decay: float):
        """Copy the weights.

        Args:
            policy: started.
            decay: 0 to below 1.
        """
        self.policy, self.decay = policy, decay
        self.weights: list[Tensor] = list(policy.parameters()) if decay else []
        self.averages = [weight.detach().clone() for weight in self.weights]

    @contextmanager
    def following(self) -> Iterator[None]:
        """Within this context every step of an optimiser that holds the weights, whosever it is, moves the average."""
        own = {id(weight) for weight in self.weights}

        @torch.no_grad()
        def after_step(optimiser: torch.optim.Optimizer, *_: Any) -> None:
            if any(id(parameter) in own for group in optimiser.param_groups for parameter in group["params"]):
                torch._foreach_lerp_(self.averages, self.weights, 1 - self.decay)

        hook = register_optimizer_step_post_hook(after_step)
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this context the weights are the average: values are swapped, so that their addresses stay."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        if self.decay:
            swap(self.policy.parameters(), self.averages)  # asked for anew, so that none of them stays gathered

    def state_dict(self) -> dict[str, Any]:
        return {"averages": [for_checkpoint(average) for average in self.averages]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_averages(self.averages, state)


def load_averages(weights: Sequence[Tensor], state: dict[str, Any]) -> None:
    """Give weights the values of a saved average."""
    for weight, average in zip(weights, state["averages"], strict=True):
        copy_whole(average, weight)
