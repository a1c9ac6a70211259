"""What algorithms share that descend a loss of stored transitions: micro-batches, accumulation and the optimiser.

A subclass is a dataclass with one method, `loss`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.adamw import AdamWAlgorithm
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithm_bases.transitions import Transitions, kl_metrics, measure, transitions
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Policy, Rollout

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class GradientAlgorithm(AdamWAlgorithm):
    """Minimises the mean of `loss` over the transitions of a rollout with AdamW."""

    minibatches: int = option(
        5,
        "optimiser steps in one pass over a rollout, each on an equal share of its transitions",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    passes: int = option(1, "number of passes over the rollout in an epoch", minimum=1, maximum=LARGEST_COUNT)
    timestep_fraction: float = option(
        1.0, "share of the timesteps of each trajectory, drawn at random, that is trained on", above=0, maximum=1
    )

    renamed: ClassVar[dict[str, str]] = {"updates_per_epoch": "minibatches", "inner_epochs": "passes"}

    @abstractmethod
    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of a micro-batch, and metrics to average."""

    def learned_from(self, rollout: Rollout) -> Tensor:
        """Indices of the samples whose transitions an update learns from, in host memory; by default all of them."""
        return torch.arange(len(rollout))

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Optimise over one rollout.

        The gradient of an optimiser step is the mean over its transitions, whatever the micro-batch.
        """
        averages, generator, samples = Averages(), self.generator(), self.learned_from(rollout)
        for _ in range(self.passes if len(samples) else 0):
            for minibatch in shuffled_pairs(samples, rollout.steps, self, generator):
                self.optimiser_step(policy, rollout, minibatch, averages)
        self.rollouts_seen += 1
        kl = measure(policy, rollout, 0.5, generator)[1]
        return averages.result() | self.optimiser.metrics() | kl_metrics("kl_behaviour", kl, rollout)

    def optimiser_step(self, policy: Policy, rollout: Rollout, minibatch: Tensor, averages: Averages) -> None:
        is_first = not self.optimiser.norms
        pairs, passes = minibatch.to(rollout.latents.device, non_blocking=True), rollout.network_passes
        for chunk, kept in dealt(pairs, rollout.micro_batch, passes):
            batch = transitions(policy, rollout, chunk[:, 0], chunk[:, 1])
            loss, metrics = self.loss(batch)
            (loss * (kept / len(minibatch))).backward()
            if is_first:  # the policy is still the one that drew the rollout
                averages.add_maximum("ratio_deviation_max", batch.ratio_deviation)
            for name, value in {"loss": loss, **metrics}.items():
                averages.add(name, value, kept)
            passes.work += LEARNING * len(chunk)
        self.optimiser.step()

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        samples = torch.arange(len(rollout))
        self.loss(transitions(policy, rollout, samples, torch.zeros_like(samples)))[0].backward()

    def updates(self, config: RunConfig) -> int:
        return config.epochs * self.passes * self.minibatches

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        steps = trained_steps(noisy_steps(config), self.timestep_fraction)
        passes = config.epochs * self.passes * config.samples_per_epoch * steps
        return passes, passes


def noisy_steps(config: RunConfig) -> int:
    """How many steps of a trajectory have a density, and can be trained on."""
    window = config.sampler.options.get("window")
    return window.steps if window else len(config.sampler.build().noisy_steps)


def trained_steps(steps: int, fraction: float) -> int:
    return max(1, int(steps * fraction + 1e-9))  # 0.29 * 100 is 28.999999999999996


def shuffled_pairs(
    samples: Tensor, steps: int, algorithm: GradientAlgorithm, generator: torch.Generator
) -> Iterator[Tensor]:
    """Index pairs (sample, step), [M, 2], of each optimiser step of one pass over these samples.

    Samples are shuffled, then timesteps independently for each sample.  The pass goes over all samples at their first
    shuffled timestep, then all at their second, ..., so that every optimiser step sees as many rewards as it can.
    """
    chosen = trained_steps(steps, algorithm.timestep_fraction)
    order = samples[torch.randperm(len(samples), generator=generator)]
    timesteps = torch.stack([torch.randperm(steps, generator=generator)[:chosen] for _ in samples])
    pairs = torch.stack([order.repeat(chosen), timesteps.T.flatten()], dim=1)
    return iter(pairs.tensor_split(min(algorithm.minibatches, len(pairs))))
