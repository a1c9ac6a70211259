"""What algorithms share that climb a differentiable reward through the last denoising steps (Clark et al. 2024).

The images are those of the rollout: their noise is drawn again, since a rollout holds final samples alone.  A subclass
is a dataclass that says through how many steps the gradient flows, `last_steps`, and may weigh rewards in `loss`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from ddpo_kernels import per_sample
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ddpo_bench.algorithm_bases.adamw import AdamWAlgorithm
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Policy, Rollout, Sampler
from ddpo_bench.registry import get

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@dataclass
class RewardGradientAlgorithm(AdamWAlgorithm):
    """Minimises `loss` of the rewards of a rollout's images, as the policy would draw them by now."""

    minibatches: int = option(
        1,
        "optimiser steps in an epoch, each on an equal share of its samples",
        minimum=1,
        maximum=LARGEST_COUNT,
    )

    needs: ClassVar[Literal["transitions", "x_0"]] = "x_0"

    def mistakes(self, config: RunConfig) -> list[str]:
        """Refuse a reward without a gradient, and a sampler whose steps cannot be taken one at a time."""
        name, found = config.algorithm.name, []
        if not config.reward.build().differentiable:
            found.append(
                f"reward: {config.reward.name} is not differentiable, and {name} follows the reward's gradient. Choose "
                "scene_alignment or target_colour, or another algorithm."
            )
        if config.reward.options.get("offload"):
            found.append(f"reward.offload: {name} scores images while it learns; remove it, or choose ppo.")
        if get("sampler", config.sampler.name).for_trajectories is not Sampler.for_trajectories:
            found.append(
                f"sampler: a step of {config.sampler.name} depends on the steps before it, and {name} differentiates "
                "steps one at a time. Choose ode, or another algorithm."
            )
        return found

    @abstractmethod
    def last_steps(self, steps: int, generator: torch.Generator) -> int:
        """Through how many of the last denoising steps the gradient of an optimiser step flows, 1 to `steps`."""

    def loss(self, policy: Policy, rollout: Rollout, samples: Tensor, last: int) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean(reward) of a micro-batch, differentiable through the last steps, and metrics to average.

        Args:
            samples: [B], indices into the rollout, on the CPU.
            last: through how many steps.
        """
        return -self.rewards(policy, rollout, samples, self.drawn(policy, rollout, samples, last)).mean(), {}

    def rewards(self, policy: Policy, rollout: Rollout, samples: Tensor, x_0: Tensor) -> Tensor:
        """[B], float64, of final latents [B, C, H, W] in place of those samples; differentiable in the latents."""
        chosen = samples.tolist()
        prompts, metadata = ([of_all[n] for n in chosen] for of_all in (rollout.prompts, rollout.metadata))
        return rollout.reward(policy.decode(x_0), prompts, metadata).scores

    def drawn(self, policy: Policy, rollout: Rollout, samples: Tensor, last: int, until: int = 0) -> Tensor:
        """Samples drawn again from their own noise by the policy as it is now, differentiable in the last steps.

        Where the gradient flows through several steps, each is computed again in the backward pass, so that no more
        than one step's activations are held.

        Args:
            last: number of denoising steps before the end through which the gradient flows.
            until: number of denoising steps that are left out at the end.
        Returns:
            [B, C, H, W], x_0 where no step is left out.
        """
        ends, steps = rollout.steps - until, rollout.steps
        samples = samples.to(policy.device, non_blocking=True)
        x_t = self.noise_of(rollout, samples, 0, policy)
        for k in range(ends):
            given = policy, rollout, samples, x_t, k
            if k < steps - last:
                with torch.no_grad():
                    x_t = self.denoised(*given)
            elif last - until > 1:
                x_t = checkpoint(self.denoised, *given, use_reentrant=False)
            else:
                x_t = self.denoised(*given)
        rollout.network_passes.work += len(samples) * passes_of(ends, last - until)
        return x_t

    def denoised(self, policy: Policy, rollout: Rollout, samples: Tensor, x_t: Tensor, k: int) -> Tensor:
        """x_{t-1} of step k, differentiable in the policy's parameters and in x_t."""
        step = torch.full_like(samples, k)
        law = law_of(policy, rollout.sampler, x_t, step, rollout.conditioning[samples])
        noise = self.noise_of(rollout, samples, k + 1, policy)
        return law.mean + per_sample(law.std, noise) * noise  # not law.sample, whose kernel has no gradient for x_t

    def noise_of(self, rollout: Rollout, samples: Tensor, step: int, policy: Policy) -> Tensor:
        steps = torch.full_like(samples, step)
        return rollout.noise.at(samples, steps, policy.latent_shape, rollout.sampler.backend)

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Optimise over one rollout; the gradient of a step is the mean over its samples, whatever the micro-batch."""
        averages, generator = Averages(), self.generator()
        for minibatch in torch.randperm(len(rollout), generator=generator).tensor_split(
            min(self.minibatches, len(rollout))
        ):
            self.optimiser_step(policy, rollout, minibatch, self.last_steps(rollout.steps, generator), averages)
        self.rollouts_seen += 1
        return averages.result() | self.optimiser.metrics()

    def optimiser_step(
        self, policy: Policy, rollout: Rollout, minibatch: Tensor, last: int, averages: Averages
    ) -> None:
        for part, kept in dealt(minibatch, rollout.micro_batch, rollout.network_passes):
            loss, metrics = self.loss(policy, rollout, part, last)
            (loss * (kept / len(minibatch))).backward()
            for name, value in {"loss": loss, **metrics}.items():
                averages.add(name, value, kept)
        self.optimiser.step()

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        self.loss(policy, rollout, torch.arange(len(rollout)), self.last_steps(rollout.steps, self.generator()))[
            0
        ].backward()

    def updates(self, config: RunConfig) -> int:
        return config.epochs * self.minibatches

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """Those of drawing every sample again, with the gradient through as many steps as the first draw of K says."""
        steps: Any = config.sampler.options.get("steps", 1)
        last = self.last_steps(steps, torch.Generator().manual_seed(config.seed))
        samples = config.epochs * config.samples_per_epoch
        return samples * (steps + (last if last > 1 else 0)), samples * last


def passes_of(steps: int, last: int) -> int:
    """What drawing one sample again costs, of which the gradient flows through the last steps."""
    again = last if last > 1 else 0  # checkpointed steps are computed twice
    return steps - last + LEARNING * last + again
