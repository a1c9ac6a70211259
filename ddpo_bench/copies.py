"""Named copies of a policy: values of its trained tensors alone, which take the tensors' place while they are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Copies:
    """Copies of trained tensors by name, never of a whole network."""

    def __init__(self, weights: Iterable[Tensor]):
        """Begin without copies.

        Args:
            weights: what is trained, in an order that stays.
        """
        self.weights = list(weights)
        self.values: dict[str, list[Tensor]] = {}

    def keep(self, name: str) -> None:
        """Make a copy of the present weights; one that is there takes their values and stays the same tensors."""
        if name in self.values:
            with torch.no_grad():
                torch._foreach_copy_(self.values[name], self.weights)
        else:
            self.values[name] = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def blend(self, name: str, decay: float) -> None:
        """copy = decay * copy + (1 - decay) * weights.

        Args:
            decay: 0 (the copy becomes the weights) to 1 (it stays).
        """
        torch._foreach_lerp_(self.values[name], self.weights, 1 - decay)

    @contextmanager
    def in_place(self, name: str) -> Iterator[None]:
        """Within this context the weights are a copy, without gradients."""
        swap(self.weights, self.values[name])
        try:
            with torch.no_grad():
                yield
        finally:
            swap(self.weights, self.values[name])


@torch.no_grad()
def swap(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Exchange values in place, so that addresses stay and compiled code holds.

    Weights that autograd saved may be exchanged and back again before its backward pass: it does not see writes to
    `.data`.
    """
    for weight, value in zip(weights, values, strict=True):
        kept = weight.detach().clone()
        weight.data.copy_(value)
        value.copy_(kept)
