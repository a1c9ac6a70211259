"""Rollouts: prompts to trajectories to rewards to advantages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.algorithm_bases.transitions import kl_metrics, measure
from ddpo_bench.config import RunConfig
from ddpo_bench.held_out import PromptFunction, split
from ddpo_bench.measuring import NetworkPasses
from ddpo_bench.protocols import (
    AdvantageEstimator,
    Algorithm,
    Conditioning,
    Metadata,
    Policy,
    Reward,
    Rollout,
    Sampler,
    Trajectories,
)
from ddpo_bench.rewards.checking import score
from ddpo_bench.training.finite import check_finite

REFERENCE_SAMPLES = 16  # trajectories of an evaluation on which the KL to the pretrained model is measured


@torch.no_grad()
def sample_batches(
    policy: Policy,
    sampler: Sampler,
    conditioning: Conditioning,
    micro_batch: int,
    generator: torch.Generator,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Iterator[Trajectories]:
    """Draw one trajectory a prompt, a micro-batch at a time.

    Args:
        generator: a CPU generator, so that the noise is the same on every device.
        on_batch: called with the number of finished trajectories.
    """
    count = len(conditioning)
    for start in range(0, count, micro_batch):
        batch = conditioning[start : start + micro_batch]
        yield sample_batch(policy, sampler, batch, generator)
        on_batch(start + len(batch))


def sample_batch(
    policy: Policy, sampler: Sampler, conditioning: Conditioning, generator: torch.Generator
) -> Trajectories:
    shape = (len(conditioning), *policy.latent_shape)
    drawn = [torch.randn(shape, generator=generator) for _ in range(1 + len(sampler.timesteps))]
    x_t, *noises = torch.stack(drawn).to(policy.device)  # one transfer: none of the steps waits for the host
    latents, means, log_probs = [x_t], [], []
    for k, noise in enumerate(noises):
        step = torch.full((len(x_t),), k, device=policy.device)
        x_t, mean, log_prob = law_of(policy, sampler, x_t, step, conditioning).draw(noise)
        latents.append(x_t)
        means.append(mean)
        log_probs.append(log_prob)
    return Trajectories(torch.stack(latents, 1), torch.stack(means, 1), torch.stack(log_probs, 1))


def joined(batches: Iterable[Trajectories]) -> Trajectories:
    """Micro-batches as one."""
    parts = [(batch.latents, batch.means, batch.log_probs) for batch in batches]
    return Trajectories(*(torch.cat(values) for values in zip(*parts, strict=True)))


def final_latents(batches: Iterable[Trajectories]) -> Tensor:
    """[N, C, H, W]: x_0 of each trajectory, of which nothing else is kept."""
    return torch.cat([batch.latents[:, -1].clone() for batch in batches])


@torch.no_grad()
def decode_in_batches(policy: Policy, latents: Tensor, micro_batch: int) -> Tensor:
    """Images [N, 3, H, W], float32 in [0, 1], on the CPU."""
    return torch.cat([policy.decode(part).cpu() for part in latents.split(micro_batch)])


@torch.no_grad()
def reference_kl(
    policy: Policy, sampler: Sampler, drawn: Trajectories, conditioning: Conditioning, micro_batch: int
) -> float:
    """Exact KL(policy || pretrained model) of a trajectory, summed over steps, mean units.

    Estimated on the first `REFERENCE_SAMPLES` trajectories, which the policy itself drew.

    Args:
        micro_batch: trajectories in one pass.
    """
    measured = range(min(REFERENCE_SAMPLES, len(conditioning)))
    total = torch.zeros((), device=policy.device, dtype=torch.float64)
    with policy.copy("pretrained"):
        for start in measured[::micro_batch]:
            part = slice(start, min(start + micro_batch, len(measured)))
            text, latents, means = conditioning[part], drawn.latents[part], drawn.means[part]
            for k in range(len(sampler.timesteps)):
                x_t, step = latents[:, k], torch.full((len(latents),), k, device=latents.device)
                total += law_of(policy, sampler, x_t, step, text).kl(means[:, k]).sum()
    return total.item() / len(measured)


def prompt_sides(config: RunConfig, policy: Policy) -> tuple[PromptFunction, PromptFunction]:
    """What training draws its prompts from, and what evaluation does.

    Args:
        policy: started; prompts that are the same to it are on one side.
    Raises:
        TooFewPrompts: where one side has none.
    """
    sides = split(config.prompts.build(), config.evaluation.prompts, lambda prompt: policy.seen(prompt).text)
    for side in sides:
        side(np.random.default_rng(0))
    return sides


def draw_prompts(
    function: PromptFunction, rng: np.random.Generator, count: int, repeats: int
) -> tuple[list[str], list[Metadata]]:
    """`count` prompts with their metadata, each drawn prompt `repeats` times in a row."""
    drawn = [function(rng) for _ in range(count // repeats)]
    repeated = [item for item in drawn for _ in range(repeats)]
    return [prompt for prompt, _ in repeated], [metadata for _, metadata in repeated]


def derived_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers; the same numbers always give the same seed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_globals(seed: int) -> None:
    """Seed the process-wide generators, for user code (rewards, prompt functions) that draws from them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass
class Collector:
    """Draws the rollout of an epoch; everything random in it follows from (seed, epoch)."""

    policy: Policy
    sampler: Sampler
    prompts: PromptFunction
    reward: Reward
    advantages: AdvantageEstimator
    algorithm: Algorithm
    samples: int
    repeats: int
    micro_batch: int
    seed: int

    def collect(self, epoch: int, on_batch: Callable[[int], None]) -> tuple[Rollout, dict[str, float]]:
        """The rollout of an epoch, and its metrics."""
        seed_globals(derived_seed(self.seed, epoch, 0))
        rng = np.random.default_rng(derived_seed(self.seed, epoch, 1))
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, 2))
        clock = time.perf_counter()
        prompts, metadata = draw_prompts(self.prompts, rng, self.samples, self.repeats)
        conditioning = self.policy.encode(prompts)
        x_0, trajectories = self.sample(conditioning, generator, on_batch)
        images = decode_in_batches(self.policy, x_0, self.micro_batch)
        check_finite(epoch - 1, **(vars(trajectories) if trajectories else {"latents": x_0}), images=images)
        sampled = time.perf_counter()
        rewards = score(self.reward, images, prompts, metadata).scores
        scored = time.perf_counter()
        seen = [self.policy.seen(prompt) for prompt in prompts]
        advantages = self.advantages.update([prompt.text for prompt in seen], rewards)
        check_finite(epoch - 1, advantages=advantages)
        advantages = advantages.to(self.policy.device)
        rollout = Rollout(
            prompts, metadata, conditioning, x_0, rewards, advantages, trajectories, self.reward,
            self.sampler, self.micro_batch, NetworkPasses(work=len(prompts) * len(self.sampler.timesteps)),
        )  # fmt: skip
        metrics = {
            "reward_mean": rewards.mean().item(),
            "reward_std": rewards.std(correction=0).item(),
            "reward_max": rewards.max().item(),
            "prompts_truncated": sum(prompt.tokens_cut > 0 for prompt in seen),
            "advantage_std": advantages.std(correction=0).item(),
            "seconds_sampling": sampled - clock,
            "seconds_reward": scored - sampled,
            "images_per_second": len(prompts) / (sampled - clock),
        }
        return rollout, metrics

    def sample(
        self, conditioning: Conditioning, generator: torch.Generator, on_batch: Callable[[int], None]
    ) -> tuple[Tensor, Trajectories | None]:
        """x_0 [N, C, H, W], and the trajectories where the algorithm needs them."""
        batches = sample_batches(self.policy, self.sampler, conditioning, self.micro_batch, generator, on_batch)
        with self.algorithm.acting(self.policy):
            if self.algorithm.needs == "x_0":
                return final_latents(batches), None
            trajectories = joined(batches)
            return trajectories.latents[:, -1], trajectories

    def compare(self, epoch: int, rollout: Rollout) -> dict[str, float]:
        """The KL of the policy that drew a rollout to the pretrained model, with what learning left for measuring it.

        It needs the rollout's means and the pretrained model alone, so that learning may already have moved the policy;
        where no trajectories are stored, it is not measured.
        """
        if rollout.trajectories is None:
            return {}
        clock = time.perf_counter()
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, 3))
        with self.policy.copy("pretrained"):
            kl = measure(self.policy, rollout, 1.0, generator)[1]
        return {
            **kl_metrics("kl_reference", kl, rollout),
            "seconds_kl": time.perf_counter() - clock,
            "measuring_fraction": rollout.network_passes.measuring_fraction,
        }
