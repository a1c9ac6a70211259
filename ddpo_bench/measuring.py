"""The network passes that an epoch spends on measuring its policy: a small share, spread over the trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench import processes

LARGEST_SHARE = 0.025  # of an epoch's network passes
MOST = 128  # transitions that one metric is measured on
LEARNING = 3  # passes that learning from one transition costs: a backward pass takes about as long as two forward ones


@dataclass
class NetworkPasses:
    """Passes of one epoch through the policy's network: one is a forward pass for one transition, with guidance.

    Attributes:
        work: passes for sampling, and `LEARNING` passes for every transition that was learned from; what is added is
            this process's own, and `grant` makes it that of all.
        measuring: passes for metrics alone.
    """

    work: int = 0
    measuring: int = 0

    def __post_init__(self) -> None:
        self.of_all = self.work

    def grant(self, share: float) -> int:
        """Take passes for one metric from what is left for measuring, and return how many; at least one.

        Args:
            share: the share of what is left that the metric may take, 0 to 1.
        """
        self.work = self.of_all = self.of_all + processes.total(self.work - self.of_all)
        left = int(LARGEST_SHARE / (1 - LARGEST_SHARE) * self.work) - self.measuring
        granted = max(1, min(int(share * left), MOST))
        self.measuring += granted
        return granted

    @property
    def measuring_fraction(self) -> float:
        return self.measuring / (self.work + self.measuring)


def spread(count: int, samples: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of the sample and of the step, [count] each, of random transitions spread evenly over the steps.

    Every transition is as likely as any other (systematic sampling, Cochran 1977, chapter 8), so that `steps` times a
    mean over them is an unbiased estimate of a trajectory's sum.
    """
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    places = ((torch.arange(count) + offset) * steps / count).long().clamp(max=steps - 1)
    orders = [torch.randperm(samples, generator=generator) for _ in range(-(-count // samples))]
    return torch.cat(orders)[:count], places
