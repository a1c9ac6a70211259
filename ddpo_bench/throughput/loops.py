"""The two loops that are compared: this package's own sampling and learning, and the plain one.

Both run the same network, decode with the same code, and learn from as many transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.config import RunConfig
from ddpo_bench.noise import Noise
from ddpo_bench.policies.diffusers_policy import UNCONDITIONAL, DiffusersPolicy
from ddpo_bench.protocols import Algorithm, Conditioning, Policy, Reward, Rollout, Sampler
from ddpo_bench.throughput import plain_loop
from ddpo_bench.throughput.settings import PLAIN
from ddpo_bench.throughput.stopwatch import Stopwatch
from ddpo_bench.training.sampling import joined, sample_batches

LEAST_STEPS = 2  # of a trajectory: a schedule of one step may have no density


@dataclass(frozen=True)
class Work:
    """What one round does.

    Attributes:
        config: with the micro-batch that is measured.
        policy: started.
        conditioning, prompts, metadata: of one micro-batch.
        reward: scores the images; None where it is not measured.
        steps: of each trajectory.
        chunks: micro-batches of transitions in the optimiser step.
    """

    config: RunConfig
    policy: Policy
    conditioning: Conditioning
    prompts: list[str]
    metadata: list[dict[str, Any]]
    reward: Reward | None
    steps: int = LEAST_STEPS
    chunks: int = 1

    def advantages(self) -> Tensor:
        """[B], random."""
        return torch.randn(len(self.prompts), generator=torch.Generator().manual_seed(0)).to(self.policy.device)


class Loop(Protocol):
    """Samples a micro-batch, and learns from it."""

    learns: bool

    def sample(self, stopwatch: Stopwatch) -> Tensor:
        """x_0 [B, C, H, W]; passes of the network are counted as the phase "network"."""

    def learn(self) -> None:
        """One optimiser step on transitions of what was sampled."""


class OwnLoop:
    """The sampling and learning that a run does."""

    def __init__(self, work: Work):
        self.work = work
        self.sampler = sampler_of(work.config, work.policy, work.steps)
        self.algorithm: Algorithm = work.config.algorithm.build()
        self.algorithm.start(work.policy, work.config.seed)
        self.learns = isinstance(self.algorithm, GradientAlgorithm)

    def sample(self, stopwatch: Stopwatch) -> Tensor:
        work, noise = self.work, Noise(self.work.config.seed, 1, "rollout")
        with self.algorithm.acting(work.policy), counted_passes(work.policy, stopwatch):
            batches = sample_batches(work.policy, self.sampler, work.conditioning, len(work.prompts), noise)
            self.drawn = joined(batches, len(work.prompts))
        return self.drawn.latents[:, -1]

    def learn(self) -> None:
        assert isinstance(self.algorithm, GradientAlgorithm)
        self.algorithm.optimiser_step(self.work.policy, self.rollout(), self.transitions(), Averages())

    def transitions(self) -> Tensor:
        """Pairs (sample, step), [M, 2]: every micro-batch holds each sample, at one step after another."""
        chunks, samples = torch.arange(self.work.chunks), torch.arange(len(self.work.prompts))
        steps = (chunks[:, None] + samples) % self.work.steps
        return torch.stack([samples.expand_as(steps), steps], -1).flatten(0, 1)

    def rollout(self) -> Rollout:
        work, count = self.work, len(self.work.prompts)
        return Rollout(
            work.prompts, work.metadata, work.conditioning, self.drawn.noise, self.drawn.latents[:, -1],
            rewards=torch.zeros(count, dtype=torch.float64), advantages=work.advantages(), trajectories=self.drawn,
            reward=work.config.reward.build(), sampler=self.sampler, micro_batch=count,
        )  # fmt: skip


class PlainLoop:
    """The plain loop on the policy's own network, not compiled."""

    learns = True

    def __init__(self, work: Work):
        policy, options = work.policy, work.config.algorithm.options
        assert isinstance(policy, DiffusersPolicy)
        self.work, self.policy = work, policy
        self.schedule = plain_loop.Schedule(
            policy.scheduler_config, work.steps, work.config.sampler.options.get("eta", 1.0), policy.device
        )
        self.text = together(work.conditioning.tensors)
        self.parameters = policy.parameters()
        self.optimiser = torch.optim.AdamW(self.parameters, lr=options.get("learning_rate", 3e-4), weight_decay=1e-4)

    def network(self, x: Tensor, timesteps: Tensor, text: Mapping[str, Tensor]) -> Tensor:
        half = self.policy.resolved_precision is torch.bfloat16
        with torch.autocast(self.policy.device.type, torch.bfloat16, enabled=half):
            return self.policy.output(self.policy.network, x, timesteps, text)

    def sample(self, stopwatch: Stopwatch) -> Tensor:
        shape = (len(self.work.prompts), *self.policy.latent_shape)
        x_t = torch.randn(shape, device=self.policy.device)
        self.drawn = plain_loop.sample_trajectories(
            timed(self.network, stopwatch), self.schedule, x_t, self.text, self.policy.guidance_scale
        )
        return self.drawn.latents[:, -1]

    def learn(self) -> None:
        steps = [chunk % self.work.steps for chunk in range(self.work.chunks)]
        plain_loop.accumulate(
            self.network, self.schedule, self.drawn, self.work.advantages(), steps, self.policy.guidance_scale, 1e-4
        )
        plain_loop.optimise(self.optimiser, self.parameters, max_grad_norm=1.0)


def sampler_of(config: RunConfig, policy: Policy, steps: int) -> Sampler:
    """The configured sampler with another number of steps."""
    made: Sampler = replace(config.sampler, options=config.sampler.options | {"steps": steps}).build()
    made.start(policy.scheduler_config, policy.device, config.backend)
    return made


def together(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The conditioning as one batch, (uncond, cond) under guidance."""
    return {
        name: torch.cat([tensors[UNCONDITIONAL + name], tensor]) if UNCONDITIONAL + name in tensors else tensor
        for name, tensor in tensors.items()
        if not name.startswith(UNCONDITIONAL)
    }


def timed(network: Callable[..., Tensor], stopwatch: Stopwatch) -> Callable[..., Tensor]:
    def call(*inputs: Any) -> Tensor:
        with stopwatch.phase("network"):
            return network(*inputs)

    return call


@contextmanager
def counted_passes(policy: Any, stopwatch: Stopwatch) -> Iterator[None]:
    """Context in which the policy's passes are timed."""
    policy.predict = timed(policy.predict, stopwatch)
    try:
        yield
    finally:
        del policy.predict


def loop_of(name: str, work: Work) -> Loop:
    return PlainLoop(work) if name == PLAIN else OwnLoop(work)
