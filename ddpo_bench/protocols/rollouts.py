"""What one epoch sampled, as it passes from sampling to learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ddpo_bench.host_memory import pick
from ddpo_bench.measuring import NetworkPasses
from ddpo_bench.noise import Noise
from ddpo_bench.protocols.policies import Conditioning
from ddpo_bench.protocols.rewards import Metadata, Reward
from ddpo_bench.protocols.samplers import Sampler


@dataclass
class Trajectories:
    """Denoising trajectories, with what learning needs of the laws that drew them.

    Their means, for exact KL, are not stored: they are what is left of the latents without the noise.

    Attributes:
        latents: [N, T + 1, C, H, W] float32, x_T first; `latents[:, k + 1]` was drawn from the law at `latents[:, k]`.
            On the device, or in host memory.
        log_probs: [N, T], mean units, of the stored `latents[:, k + 1]`.
        noise: that drew them; x_T is that of step 0, and `latents[:, k + 1]` was drawn with that of step k + 1.
        first_step: where the sampler has a window, the step that is its first; T is then its length, `latents[:, 0]`
            the state at which it begins, and `latents[:, k + 1]` was drawn with the noise of step first_step + k + 1.
    """

    latents: Tensor
    log_probs: Tensor
    noise: Noise
    first_step: int = 0

    def only(self, steps: range) -> Trajectories:
        """What these steps start from and lead to, and nothing else."""
        latents, log_probs = self.latents[:, steps.start : steps.stop + 1], self.log_probs[:, steps.start : steps.stop]
        return Trajectories(latents.clone(), log_probs.clone(), self.noise, steps.start)

    def first(self, count: int) -> Trajectories:
        """The first ones alone."""
        return Trajectories(self.latents[:count], self.log_probs[:count], self.noise)


@dataclass
class Rollout:
    """What one epoch sampled, in that order.

    Attributes:
        prompts, metadata: N of each.
        conditioning: of the N samples.
        noise: that drew the samples, whether or not their trajectories are stored.
        x_0: [N, C, H, W] float32, final latents.
        rewards: [N], float64.
        advantages: [N], float32; the same for every transition of a trajectory.
        trajectories: of the behaviour policy, or None where the algorithm needs x_0 alone.
        reward: what scored the images.
        sampler: the schedule and the laws that drew them; where trajectories are stored, their noisy steps alone.
        micro_batch: samples in one forward pass of sampling; learning uses the same, because a network may round
            differently at another batch size.
        network_passes: of this epoch so far; whoever learns from the rollout adds its own.
    """

    prompts: list[str]
    metadata: list[Metadata]
    conditioning: Conditioning
    noise: Noise
    x_0: Tensor
    rewards: Tensor
    advantages: Tensor
    trajectories: Trajectories | None
    reward: Reward
    sampler: Sampler
    micro_batch: int
    network_passes: NetworkPasses = field(default_factory=NetworkPasses)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def steps(self) -> int:
        return len(self.sampler.timesteps)

    @cached_property
    def groups(self) -> list[Tensor]:
        """The samples of each prompt, int64 indices on the CPU, in the order in which the prompts were drawn."""
        places: dict[str, list[int]] = {}
        for index, prompt in enumerate(self.prompts):
            places.setdefault(prompt, []).append(index)
        return [torch.tensor(indices) for indices in places.values()]

    def states(self, samples: Tensor, steps: Tensor) -> Tensor:
        """[B, C, H, W], on the device: stored latents of samples [B] at steps [B], 0 (x_T) to T (x_0)."""
        return pick(self.latents, samples, steps, self.x_0.device)

    @property
    def latents(self) -> Tensor:
        return self.stored.latents

    @property
    def log_probs(self) -> Tensor:
        return self.stored.log_probs

    @property
    def stored(self) -> Trajectories:
        """The trajectories.

        Raises:
            LookupError: where the algorithm said that it needs x_0 alone.
        """
        if self.trajectories is None:
            raise LookupError('the rollout holds x_0 alone; set `needs = "transitions"` in the algorithm\'s class.')
        return self.trajectories
