"""Final samples, noised again: what a policy and its copies predict of them, and how far that is from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import forward_process, output_of, x_0_of
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import CopyName, Policy, Rollout


@dataclass
class NoisedSamples:
    """A micro-batch of noised final samples under the current policy.

    Attributes:
        samples, steps: [B] each, indices into the rollout and into the sampler's timesteps.
        tuples: [B], 0, 1, ...: samples with one number are learned from together.
        tuple_count: U, the number of tuples.
        x_0, x_t, target: [B, C, H, W]: the final samples, these noised, and what the model is to predict of them.
    """

    policy: Policy
    rollout: Rollout
    samples: Tensor
    steps: Tensor
    tuples: Tensor
    tuple_count: int
    x_0: Tensor
    x_t: Tensor
    target: Tensor

    @cached_property
    def advantages(self) -> Tensor:
        """[B]."""
        return self.rollout.advantages[self.samples]

    @cached_property
    def noise_level(self) -> Tensor:
        """[B], 0 to 1: the noise's share b / (a + b) of x_t = a x_0 + b noise; in flow matching its t."""
        (a, _), (b, _) = forward_process(self.rollout.sampler, self.x_t, self.steps)
        return (b / (a + b)).flatten()

    @cached_property
    def output(self) -> Tensor:
        """[B, C, H, W], the guided model output at x_t, float32; differentiable in the policy's parameters."""
        return self.predicted()

    def output_of(self, name: CopyName) -> Tensor:
        """The same of a copy of the policy, without gradients; the network pass counts as learning."""
        self.rollout.network_passes.work += len(self.samples)
        with self.policy.copy(name):
            return self.predicted()

    def predicted(self) -> Tensor:
        conditioning = self.rollout.conditioning[self.samples]
        return output_of(self.policy, self.rollout.sampler, self.x_t, self.steps, conditioning)

    def x_0_of(self, output: Tensor) -> Tensor:
        """What a model output at x_t says of x_0, [B, C, H, W], whether the model predicts noise, velocity or x_0."""
        return x_0_of(self.rollout.sampler, self.x_t, output, self.steps)

    def error(self, output: Tensor) -> Tensor:
        """[B], mean over latent dimensions of (output - target)^2."""
        return mean_square(output - self.target)

    def mean_of_tuples(self, values: Tensor) -> Tensor:
        """[U], the mean of values [B] over the samples of each tuple."""
        zeros = values.new_zeros(self.tuple_count)
        sizes = zeros.index_add(0, self.tuples, torch.ones_like(values))
        return zeros.index_add(0, self.tuples, values) / sizes


def mean_square(values: Tensor) -> Tensor:
    """[B, ...] to [B]."""
    return values.square().flatten(1).mean(1)


def noised_samples(
    policy: Policy, rollout: Rollout, together: Sequence[Tensor], steps: Tensor, draws: Tensor, noise: Noise
) -> NoisedSamples:
    """Final samples, noised by the forward process; those of one tuple get the same noise at the same timestep.

    Args:
        together: U tuples of samples, indices into the rollout.
        steps: [U], indices into the sampler's timesteps.
        draws: [U], which draw of a tuple's noise in this update.
        noise: of the update; a tuple's is that of its first sample.
    """
    device, sampler = policy.device, rollout.sampler
    sizes = torch.tensor([len(samples) for samples in together])
    tuples = torch.arange(len(together)).repeat_interleave(sizes)
    first = torch.stack([samples[0] for samples in together])
    samples, steps, first, draws, on_device = (
        indices.to(device, non_blocking=True)
        for indices in (torch.cat(list(together)), steps[tuples], first[tuples], draws[tuples], tuples)
    )
    x_0 = rollout.x_0[samples]
    x_t, target = sampler.noised(x_0, noise.at(first, draws, policy.latent_shape, sampler.backend), steps)
    return NoisedSamples(policy, rollout, samples, steps, on_device, len(together), x_0, x_t, target)
