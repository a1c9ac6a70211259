"""Rollouts: prompts to trajectories to rewards to advantages."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.transitions import kl_metrics, measure
from ddpo_bench.config import RunConfig
from ddpo_bench.held_out import PromptFunction, split
from ddpo_bench.measuring import NetworkPasses
from ddpo_bench.noise import Noise
from ddpo_bench.process_errors import one_error_for_all
from ddpo_bench.protocols import (
    AdvantageEstimator,
    Algorithm,
    Conditioning,
    Metadata,
    Policy,
    Reward,
    RewardOutput,
    Rollout,
    Sampler,
    Trajectories,
)
from ddpo_bench.registry import label
from ddpo_bench.rewards.checking import FAILURE, RewardError, score
from ddpo_bench.samplers.window import of_epoch
from ddpo_bench.training.finite import check_finite
from ddpo_bench.training.missing_scores import advantages_of, with_means
from ddpo_bench.training.sampling import decode_in_batches, final_latents, joined, sample_batches


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


def scored_by_all(
    reward: Reward, images: Tensor, prompts: list[str], metadata: list[Metadata], training: bool
) -> tuple[Tensor, dict[str, float]]:
    """Scores of all images, each by the process whose share it is in, and the means of the numbers in their info.

    Args:
        images: [share, 3, H, W], those of this process.
        prompts, metadata: N of each.
        training: whether they are the samples of an epoch, not those of an evaluation.
    Returns:
        [N], float64, NaN where an image has no score; and the means over the images that have the number.
    Raises:
        RewardError: where no image has a score.
        Exception: what the reward raised on any of the processes.
    """
    own = processes.share(len(prompts))
    output = RewardOutput(torch.zeros(0, dtype=torch.float64))
    with one_error_for_all():
        if len(images):
            output = score(reward, images, prompts[own], metadata[own])
    scores = processes.gathered(output.scores, len(prompts))
    if scores.isnan().all():
        reasons = [reason for failures in processes.everyones(output.info.get(FAILURE, [])) for reason in failures]
        raise RewardError(f"reward {label('reward', reward)}: no image got a score, the first because: {reasons[0]}")
    numbers = numbers_of_all(output.info, len(prompts))
    means = {key: mean_of_scored(values) for key, values in numbers.items()}
    scores = reward.of_all(scores, numbers, prompts, training)
    return scores, {key: mean for key, mean in means.items() if math.isfinite(mean)}


def numbers_of_all(info: dict[str, list[Any]], count: int) -> dict[str, Tensor]:
    """Each number that rewards measure besides scores, [count], float64, NaN for images that do not have it.

    Args:
        info: of this process's share of `count` images.
    """
    numbers = {
        key: [math.nan if value is None else float(value) for value in values]
        for key, values in info.items()
        if all(value is None or isinstance(value, (int, float)) for value in values)
    }
    size = len(range(count)[processes.share(count)])
    found: dict[str, Tensor] = {}
    for key in sorted(set().union(*processes.everyones(list(numbers)))):
        own = torch.tensor(numbers.get(key, [math.nan] * size), dtype=torch.float64)
        found[key] = processes.gathered(own, count)
    return found


def mean_of_scored(values: Tensor) -> float:
    """The mean of those that are not NaN; NaN where all are."""
    return values[~values.isnan()].mean().item()


def spread(rewards: Tensor) -> dict[str, float]:
    """Of the rewards [N] that are not NaN, and how many are."""
    scored = rewards[~rewards.isnan()]
    missing = len(rewards) - len(scored)
    return {
        "reward_mean": scored.mean().item(),
        "reward_std": scored.std(correction=0).item(),
        "reward_max": scored.max().item(),
        **({"scores_missing": missing} if missing else {}),
    }


def signal(prompts: list[str], rewards: Tensor, advantages: Tensor, estimator: AdvantageEstimator) -> dict[str, float]:
    """How much an epoch has to teach: what its advantages lost, and the spread of rewards among samples of one prompt.

    Args:
        prompts: N, as the policy reads them.
        rewards, advantages: [N]; NaN where a sample has no score.
    """
    scored = ~rewards.isnan()
    prompts, rewards = [prompts[n] for n in scored.nonzero().flatten()], rewards[scored]
    sizes = advantages.cpu()[scored].abs()
    found = {"no_advantage_fraction": (sizes == 0).double().mean().item()}
    if hasattr(estimator, "clip"):
        found["advantage_clipped_fraction"] = (sizes >= estimator.clip).double().mean().item()
    index = np.unique(prompts, return_inverse=True)[1]
    counts = np.bincount(index)
    repeated = len(prompts) - len(counts)  # degrees of freedom: prompts drawn once have no spread of their own
    if repeated:
        values = rewards.cpu().numpy()
        deviations = values - (np.bincount(index, weights=values) / counts)[index]
        found["reward_std_within"] = float(np.sqrt((deviations**2).sum() / repeated))
    return found


@dataclass
class Collector:
    """Draws the rollout of an epoch; everything random in it follows from (seed, epoch).

    Attributes:
        on_host: whether trajectories are kept in host memory.
    """

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
    on_host: bool = False

    def collect(self, epoch: int, on_batch: Callable[[int], None]) -> tuple[Rollout, dict[str, float]]:
        """The rollout of an epoch, and its metrics."""
        seed_globals(derived_seed(self.seed, epoch, 0))
        rng = np.random.default_rng(derived_seed(self.seed, epoch, 1))
        clock = time.perf_counter()
        prompts, metadata = draw_prompts(self.prompts, rng, self.samples, self.repeats)
        conditioning = self.policy.encode(prompts)
        noise = Noise(self.seed, epoch, "rollout")
        sampler, noisy_part, noisy = of_epoch(self.sampler, self.seed, epoch)
        x_0, trajectories = self.sample(sampler, conditioning, noise, on_batch)
        if trajectories and noisy_part is not sampler:
            trajectories = trajectories.only(noisy)
        log_probs = {"log_probs": trajectories.log_probs} if trajectories else {}
        check_finite(epoch - 1, latents=trajectories.latents if trajectories else x_0, **log_probs)
        images = decode_in_batches(self.policy, x_0, self.micro_batch)
        sums = images.flatten(1).sum(1, keepdim=True)  # finite where all pixels are
        check_finite(epoch - 1, images=processes.gathered(sums, len(prompts)))
        sampled = time.perf_counter()
        rewards, measured = scored_by_all(self.reward, images, prompts, metadata, training=True)
        scored = time.perf_counter()
        seen = [self.policy.seen(prompt) for prompt in prompts]
        texts = [prompt.text for prompt in seen]
        advantages = advantages_of(self.advantages, texts, rewards)
        check_finite(epoch - 1, advantages=advantages)
        advantages = advantages.to(self.policy.device)
        rollout = Rollout(
            prompts, metadata, conditioning, noise, x_0, with_means(texts, rewards), advantages, trajectories,
            self.reward, noisy_part if trajectories else sampler, self.micro_batch,
            NetworkPasses(work=len(prompts) * len(self.sampler.timesteps)),
        )  # fmt: skip
        metrics = {
            **spread(rewards),
            **{f"reward/{name}": mean for name, mean in measured.items()},
            "prompts_truncated": sum(prompt.tokens_cut > 0 for prompt in seen),
            "advantage_std": advantages.std(correction=0).item(),
            **signal(texts, rewards, advantages, self.advantages),
            "seconds_sampling": sampled - clock,
            "seconds_reward": scored - sampled,
            "images_per_second": len(prompts) / (sampled - clock),
        }
        return rollout, metrics

    def sample(
        self, sampler: Sampler, conditioning: Conditioning, noise: Noise, on_batch: Callable[[int], None]
    ) -> tuple[Tensor, Trajectories | None]:
        """x_0 [N, C, H, W], and the trajectories where the algorithm needs them and steps have a density."""
        batches = sample_batches(self.policy, sampler, conditioning, self.micro_batch, noise, on_batch)
        with self.algorithm.acting(self.policy):
            if self.algorithm.needs == "x_0" or not self.sampler.noisy_steps:
                return final_latents(batches, len(conditioning)), None
            trajectories = joined(batches, len(conditioning), self.on_host)
            return trajectories.latents[:, -1].to(self.policy.device), trajectories

    def compare(self, epoch: int, rollout: Rollout) -> dict[str, float]:
        """The KL of the policy that drew a rollout to the pretrained model, with what learning left for measuring it.

        It needs the rollout and the pretrained model alone, so that learning may already have moved the policy;
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
