"""What an epoch spends on measuring its policy: a small share of its network passes, spread over the trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_SHARE = 0.025  # of an epoch's network passes
MOST = 128  # transitions that one figure is measured on
LEARNING = 3  # passes that a transition costs in learning: a backward pass takes about as long as two forward ones


@dataclass
class NetworkPasses:
    """Passes of one epoch through the policy's network, each forward and for one transition, guidance included.

    Attributes:
        work: for sampling, and `LEARNING` for every transition that was learned from.
        measuring: for metrics alone.
    """

    work: int = 0
    measuring: int = 0

    def grant(self, share: float) -> int:
        """Passes for one figure, which count as measuring from now on; at least one.

        Args:
            share: of what the work so far leaves for measuring.
        """
        left = int(LARGEST_SHARE / (1 - LARGEST_SHARE) * self.work) - self.measuring
        granted = max(1, min(int(share * left), MOST))
        self.measuring += granted
        return granted

    @property
    def measuring_fraction(self) -> float:
        return self.measuring / (self.work + self.measuring)


def spread(count: int, samples: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sample and step indices, [count] each, of random transitions whose steps lie evenly over the trajectory.

    Every transition is as likely as any other (systematic sampling, Cochran 1977, chapter 8), so that `steps` times a
    mean over them is an unbiased estimate of a trajectory's sum.
    """
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    places = ((torch.arange(count) + offset) * steps / count).long().clamp(max=steps - 1)
    orders = [torch.randperm(samples, generator=generator) for _ in range(-(-count // samples))]
    return torch.cat(orders)[:count], places
