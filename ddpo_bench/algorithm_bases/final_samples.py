"""What algorithms share that learn from final samples alone, noised again: neither density nor trajectory is needed.

Forward-process and reward-gradient algorithms are of this family; a subclass is a dataclass with one method, `loss`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.adamw import AdamWAlgorithm
from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Policy, Rollout

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class FinalSamplesAlgorithm(AdamWAlgorithm):
    """Minimises the mean of `loss` over the final samples of a rollout, with fresh noise in every optimiser step."""

    optimiser_steps: int = option(
        10, "optimiser steps in an epoch, each on all of its samples", minimum=1, maximum=LARGEST_COUNT
    )

    needs: ClassVar[Literal["transitions", "x_0"]] = "x_0"

    @abstractmethod
    def loss(self, policy: Policy, rollout: Rollout, samples: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Mean loss of a micro-batch.

        Args:
            samples: [B], indices into the rollout.
            steps: [B], of the sampler's timesteps, drawn at random for each sample.
            noise: [B, C, H, W], standard normal.
        """

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Optimise over one rollout; the gradient of a step is the mean over its samples, whatever the micro-batch."""
        averages, generator, count = Averages(), self.generator(), len(rollout)
        samples = torch.arange(count, device=policy.device)
        for number in range(self.optimiser_steps):
            noise = self.noise().draw(torch.full_like(samples, number), policy.latent_shape, rollout.sampler.backend)
            steps = torch.randint(rollout.steps, (count,), generator=generator).to(policy.device)
            for part in samples.split(rollout.micro_batch):
                loss = self.loss(policy, rollout, part, steps[part], noise[part])
                (loss * (len(part) / count)).backward()
                averages.add("loss", loss, len(part))
            self.optimiser.step()
        self.rollouts_seen += 1
        rollout.network_passes.work += LEARNING * self.optimiser_steps * count
        return averages.result() | self.optimiser.metrics()

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        samples = torch.arange(len(rollout), device=policy.device)
        self.loss(policy, rollout, samples, torch.zeros_like(samples), torch.zeros_like(rollout.x_0)).backward()

    def updates(self, config: RunConfig) -> int:
        return config.epochs * self.optimiser_steps

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """One pass for each sample of an optimiser step; a loss that asks other copies of the policy too says so."""
        passes = config.epochs * self.optimiser_steps * config.samples_per_epoch
        return passes, passes
