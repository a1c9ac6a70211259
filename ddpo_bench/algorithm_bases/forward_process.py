"""What algorithms share that learn from final samples alone, noised again by the forward process.

Neither a density nor a trajectory is needed, so that any sampler will do.  A subclass is a dataclass with one method,
`loss`; one that compares samples of a prompt with each other also gives `together`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.adamw import AdamWAlgorithm
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, noised_samples
from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithm_bases.trajectory import trained_steps
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Policy, Rollout

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class ForwardProcessAlgorithm(AdamWAlgorithm):
    """Minimises the mean of `loss` over the final samples of a rollout, each noised anew in every pass over them."""

    minibatches: int = option(
        1,
        "optimiser steps in one pass over a rollout, each on an equal share of its noised samples",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    passes: int = option(
        10, "number of passes over the rollout in an epoch, each with fresh noise", minimum=1, maximum=LARGEST_COUNT
    )
    timesteps_per_sample: int = option(
        1, "number of different timesteps at which a pass noises each sample", minimum=1, maximum=1000
    )
    timestep_fraction: float = option(
        1.0, "share of the sampler's timesteps, the noisiest first, from which they are drawn", above=0, maximum=1
    )

    needs: ClassVar[Literal["transitions", "x_0"]] = "x_0"

    @abstractmethod
    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of a micro-batch, over its tuples, and metrics to average."""

    def together(self, rollout: Rollout) -> list[Tensor]:
        """Tuples of samples that are learned from together: in one micro-batch, at one timestep and with one noise.

        By default each sample alone.  Those of each prompt are `rollout.groups`.

        Returns:
            Indices into the rollout, int64 on the CPU; samples that are in none are not learned from.
        """
        return list(torch.arange(len(rollout)).split(1))

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Optimise over one rollout.

        The gradient of an optimiser step is the mean over its noised tuples, whatever the micro-batch.
        """
        averages, generator, together = Averages(), self.generator(), self.together(rollout)
        for number in range(self.passes):
            for minibatch in self.shuffled(len(together), rollout.steps, number, generator):
                self.optimiser_step(policy, rollout, together, minibatch, averages)
        self.rollouts_seen += 1
        return averages.result() | self.optimiser.metrics()

    def shuffled(self, count: int, steps: int, number: int, generator: torch.Generator) -> Iterator[Tensor]:
        """(tuple, step, draw), [M, 3], of each optimiser step of a pass.

        Tuples are shuffled, then timesteps independently for each.  The pass goes over all tuples at their first
        timestep, then all at their second, ..., so that every optimiser step sees as many of them as it can.
        """
        noisiest = trained_steps(steps, self.timestep_fraction)
        times = min(self.timesteps_per_sample, noisiest)
        order = torch.randperm(count, generator=generator)
        chosen = [torch.randperm(noisiest, generator=generator)[:times] for _ in range(count)]
        draws = torch.arange(number * times, (number + 1) * times).repeat_interleave(count)
        drawn = torch.stack([order.repeat(times), torch.stack(chosen).T.flatten(), draws], dim=1)
        return iter(drawn.tensor_split(min(self.minibatches, len(drawn))))

    def optimiser_step(
        self, policy: Policy, rollout: Rollout, together: Sequence[Tensor], minibatch: Tensor, averages: Averages
    ) -> None:
        at_once = max(1, rollout.micro_batch // max(map(len, together)))
        for chunk, kept in dealt(minibatch, at_once, rollout.network_passes):
            tuples = [together[index] for index in chunk[:, 0].tolist()]
            batch = noised_samples(policy, rollout, tuples, chunk[:, 1], chunk[:, 2], self.noise())
            loss, metrics = self.loss(batch)
            (loss * (kept / len(minibatch))).backward()
            for name, value in {"loss": loss, **metrics}.items():
                averages.add(name, value, kept)
            rollout.network_passes.work += LEARNING * len(batch.samples)
        self.optimiser.step()

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        one = [torch.arange(len(rollout))]
        nothing = torch.zeros(1, dtype=torch.long)
        self.loss(noised_samples(policy, rollout, one, nothing, nothing, self.noise()))[0].backward()

    def updates(self, config: RunConfig) -> int:
        return config.epochs * self.passes * self.minibatches

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """One pass for each noised sample; a loss that asks other copies of the policy too says so."""
        noisiest = trained_steps(config.sampler.options.get("steps", 1), self.timestep_fraction)
        times = min(self.timesteps_per_sample, noisiest)
        passes = config.epochs * self.passes * config.samples_per_epoch * times
        return passes, passes
