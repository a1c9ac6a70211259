"""Rollouts: prompts to trajectories to rewards to advantages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.transitions import kl_metrics, measure
from ddpo_bench.config import RunConfig, Scoring
from ddpo_bench.held_out import PromptFunction, split
from ddpo_bench.measuring import NetworkPasses
from ddpo_bench.noise import Noise
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
from ddpo_bench.samplers.window import of_epoch
from ddpo_bench.training.finite import check_finite
from ddpo_bench.training.missing_scores import advantages_of, with_means
from ddpo_bench.training.sampling import decode_in_batches, final_latents, joined, sample_batches
from ddpo_bench.training.scoring import Scores, scored_by_all, scores


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


class OwnImages:
    """The images of this process's share of an epoch; scored while others are sampled, where the reward allows it.

    Args:
        prompts, metadata: N of each, of the whole epoch.
        scored: takes the images.
    """

    def __init__(self, policy: Policy, prompts: list[str], metadata: list[Metadata], micro_batch: int, scored: Scores):
        self.policy, self.micro_batch, self.scored = policy, micro_batch, scored
        own = processes.share(len(prompts))
        self.prompts, self.metadata = prompts[own], metadata[own]
        self.images: list[Tensor] = []
        self.count = 0

    def sampled(self, x_0: Tensor, kept: int) -> None:
        """A micro-batch of final latents, of which the first `kept` count."""
        if self.scored.is_apart:
            self.add(self.policy.decode(x_0)[:kept].cpu())

    def decoded(self, x_0: Tensor) -> Tensor:
        """[share, 3, H, W], float32 in [0, 1], on the CPU, of the final latents of the whole epoch."""
        if not self.scored.is_apart:
            self.add(decode_in_batches(self.policy, x_0, self.micro_batch))
        return torch.cat(self.images)

    def add(self, images: Tensor) -> None:
        rows = slice(self.count, self.count + len(images))
        self.scored.add(images, self.prompts[rows], self.metadata[rows])
        self.images.append(images)
        self.count = rows.stop


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
    scoring: Scoring = Scoring()

    def collect(self, epoch: int, on_batch: Callable[[int], None]) -> tuple[Rollout, dict[str, float]]:
        """The rollout of an epoch, and its metrics."""
        seed_globals(derived_seed(self.seed, epoch, 0))
        rng = np.random.default_rng(derived_seed(self.seed, epoch, 1))
        clock = time.perf_counter()
        with scores(self.reward, self.scoring, self.policy.device) as scoring:
            return self.collected(epoch, rng, clock, scoring, on_batch)

    def collected(
        self, epoch: int, rng: np.random.Generator, clock: float, scoring: Scores, on_batch: Callable[[int], None]
    ) -> tuple[Rollout, dict[str, float]]:
        prompts, metadata = draw_prompts(self.prompts, rng, self.samples, self.repeats)
        images = OwnImages(self.policy, prompts, metadata, self.micro_batch, scoring)
        conditioning = self.policy.encode(prompts)
        noise = Noise(self.seed, epoch, "rollout")
        sampler, noisy_part, noisy = of_epoch(self.sampler, self.seed, epoch)
        x_0, trajectories = self.sample(sampler, conditioning, noise, on_batch, images)
        if trajectories and noisy_part is not sampler:
            trajectories = trajectories.only(noisy)
        log_probs = {"log_probs": trajectories.log_probs} if trajectories else {}
        check_finite(epoch - 1, latents=trajectories.latents if trajectories else x_0, **log_probs)
        sums = images.decoded(x_0).flatten(1).sum(1, keepdim=True)  # finite where all pixels are
        check_finite(epoch - 1, images=processes.gathered(sums, len(prompts)))
        sampled = time.perf_counter()
        found = scored_by_all(self.reward, images.scored, prompts, training=True)
        rewards, scored = found.scores, time.perf_counter()
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
            **{f"reward/{name}": mean for name, mean in found.means.items()},
            "prompts_truncated": sum(prompt.tokens_cut > 0 for prompt in seen),
            "advantage_std": advantages.std(correction=0).item(),
            **signal(texts, rewards, advantages, self.advantages),
            "seconds_sampling": sampled - clock,
            "seconds_reward": scored - sampled,
            **({"seconds_reward_overlapped": scoring.seconds_before(sampled)} if scoring.is_apart else {}),
            "images_per_second": len(prompts) / (sampled - clock),
        }
        return rollout, metrics

    def sample(
        self,
        sampler: Sampler,
        conditioning: Conditioning,
        noise: Noise,
        on_batch: Callable[[int], None],
        images: OwnImages,
    ) -> tuple[Tensor, Trajectories | None]:
        """x_0 [N, C, H, W], and the trajectories where the algorithm needs them and steps have a density."""
        batches = sample_batches(self.policy, sampler, conditioning, self.micro_batch, noise, on_batch, images.sampled)
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
