"""Soft actor-critic on the denoising trajectory (Haarnoja et al. 2018), for a policy with a fixed std.

A transition is deterministic given the action, so Q(s, a) = V(x_{t-1}, t-1, prompt).  The actor is reparameterised,
x' = mean_theta + std * z, and minimises -min_k V_k(x', t-1, prompt) + alpha * KL(policy || pretrained): with a fixed
std the entropy is constant in theta, and the KL to the pretrained model takes its place.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.adamw import AdamWAlgorithm
from ddpo_bench.algorithm_bases.critic import Twins
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.algorithm_bases.optimiser import Averages, Optimiser
from ddpo_bench.algorithm_bases.replay import Replay
from ddpo_bench.algorithm_bases.transitions import kl_metrics, measure
from ddpo_bench.measuring import LEARNING
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Footprint, Policy, Rollout, Sampler
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("algorithm", "sac")
@dataclass
class SAC(AdamWAlgorithm):
    """Reparameterised actor against twin critics of the noisy latents, with a KL penalty to the pretrained model."""

    critic_learning_rate: float = option(1e-3, "learning rate of the critics' AdamW", above=0, maximum=100)
    actor_updates: int = option(5, "optimiser steps of the actor in an epoch", minimum=1, maximum=LARGEST_COUNT)
    critic_updates: int = option(
        40, "optimiser steps of the critics in an epoch, before those of the actor", minimum=1, maximum=LARGEST_COUNT
    )
    batch: int = option(
        256, "transitions in an optimiser step of the actor or the critics", minimum=1, maximum=LARGEST_COUNT
    )
    replay_rollouts: int = option(4, "number of latest rollouts to learn from", minimum=1, maximum=LARGEST_COUNT)
    warmup_epochs: int = option(
        1, "number of first epochs in which only the critics learn", minimum=0, maximum=LARGEST_COUNT
    )
    tau: float = option(0.005, "Polyak step of the target critics, after each step of the critics", above=0, maximum=1)
    reward_share: float = option(
        0.5, "share of the trajectory's own reward in a critic's target; the rest is bootstrapped", minimum=0, maximum=1
    )
    alpha: float = option(
        0.01, "weight of a step's KL to the pretrained model, which is in mean units", minimum=0, maximum=1e6
    )

    version: ClassVar[int] = 2  # noise keyed by sample and update
    learns_from_all: ClassVar[bool] = False
    renamed: ClassVar[dict[str, str]] = {"updates_per_epoch": "actor_updates"}

    def mistakes(self, config: RunConfig) -> list[str]:
        if config.sampler.options.get("window") is None:
            return []
        return ["sampler.window: the critics of sac value every step of a trajectory; remove it, or choose ppo."]

    def updates(self, config: RunConfig) -> int:
        return max(0, config.epochs - self.warmup_epochs) * self.actor_updates

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """Those of the actor's steps."""
        passes = self.updates(config) * self.batch
        return passes * (1 + bool(self.alpha)), passes

    def state_bytes(self, config: RunConfig, policy: Footprint) -> int:
        """Also of the replay; the critics are small."""
        sample = (config.sampler.options.get("steps", 0) + 1) * policy.latents + policy.conditioning
        return super().state_bytes(config, policy) + self.replay_rollouts * config.samples_per_epoch * sample

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.replay: Replay  # from the first rollout on

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Critic steps on the replay, then actor steps on its states."""
        self.remember(rollout)
        averages, generator = Averages(), self.generator()
        deviation, kl = measure(policy, rollout, 0.5, generator)
        averages.add("ratio_deviation_max", deviation)
        for _ in range(self.critic_updates):
            self.critic_step(generator, averages)
        self.critic_optimiser.metrics()
        if self.rollouts_seen >= self.warmup_epochs:
            for number in range(self.actor_updates):
                self.actor_step(policy, rollout, number, generator, averages)
            kl = measure(policy, rollout, 0.5, generator)[1]
        self.rollouts_seen += 1
        return averages.result() | self.optimiser.metrics() | kl_metrics("kl_behaviour", kl, rollout)

    def remember(self, rollout: Rollout) -> None:
        """Add to the replay; the first rollout tells the shapes that the critics need."""
        if self.rollouts_seen:
            self.replay = self.replay.extended(Replay.of(rollout), self.replay_rollouts * len(rollout))
        else:
            self.replay = Replay.of(rollout)
            self.make_critics()

    def make_critics(self) -> None:
        _, states, channels, height, width = self.replay.latents.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            critics = Twins((channels, height, width), states - 1, self.replay.conditioning.pooled.shape[-1])
        self.critics = critics.to(self.replay.device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.critic_optimiser = Optimiser(
            self.critics.parameters(), self.critic_learning_rate, self.weight_decay, self.adam_epsilon,
            self.max_grad_norm, rate="critic_learning_rate",
        )  # fmt: skip

    def draw(self, states: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample indices into the replay and step indices below `states`, [batch] each."""
        samples = torch.randint(len(self.replay), (self.batch,), generator=generator)
        steps = torch.randint(states, (self.batch,), generator=generator)
        return samples.to(self.replay.device), steps.to(self.replay.device)

    def critic_step(self, generator: torch.Generator, averages: Averages) -> None:
        """Regress both critics on targets at random states of the replay, the final ones included."""
        samples, steps = self.draw(self.replay.latents.shape[1], generator)
        for part in processes.deal(self.batch, self.batch):
            loss = self.critic_loss(samples[part.rows], steps[part.rows])
            weight = part.kept / self.batch
            (loss * weight).backward()
            averages.add("sac/critic_loss", loss, weight)
        self.critic_optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.targets.parameters()), list(self.critics.parameters()), self.tau)

    def critic_loss(self, samples: Tensor, steps: Tensor) -> Tensor:
        pooled = self.replay.conditioning.pooled[samples]
        values = self.critics(self.replay.states(samples, steps), steps, pooled)  # [2, B]
        return (values - self.critic_target(samples, steps)).square().mean()

    @torch.no_grad()
    def critic_target(self, samples: Tensor, steps: Tensor) -> Tensor:
        """[B]: the reward at x_0; before it, a mix of the reward and the target critics' value of the next state.

        Rewards are standardised over the replay.  The next state is the stored one; a short replay keeps it close to
        the current policy's.
        """
        rewards = self.replay.standardised_rewards()[samples]
        last = self.replay.latents.shape[1] - 1
        following = (steps + 1).clamp(max=last)
        pooled = self.replay.conditioning.pooled[samples]
        bootstrap = self.targets(self.replay.states(samples, following), following, pooled).min(0).values
        mixed = self.reward_share * rewards + (1 - self.reward_share) * bootstrap
        return torch.where(steps == last, rewards, mixed)

    def actor_step(
        self, policy: Policy, rollout: Rollout, number: int, generator: torch.Generator, averages: Averages
    ) -> None:
        samples, steps = self.draw(rollout.steps, generator)
        noise = self.noise().draw(torch.full_like(samples, number), policy.latent_shape, rollout.sampler.backend)
        self.critics.requires_grad_(False)
        for part, kept in dealt(torch.arange(self.batch), rollout.micro_batch, rollout.network_passes):
            loss = self.actor_loss(policy, rollout.sampler, samples[part], steps[part], noise[part])
            (loss * (kept / self.batch)).backward()
            averages.add("loss", loss, kept)
            rollout.network_passes.work += (LEARNING + bool(self.alpha)) * len(part)
        self.critics.requires_grad_(True)
        self.optimiser.step()

    def actor_loss(self, policy: Policy, sampler: Sampler, samples: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """mean(-min_k V_k(x', t-1, prompt) + alpha * KL(policy || pretrained))."""
        x_t, conditioning = self.replay.states(samples, steps), self.replay.conditioning[samples]
        law = law_of(policy, sampler, x_t, steps, conditioning)
        loss = -self.critics(law.sample(noise), steps + 1, conditioning.pooled).min(0).values
        if self.alpha:
            with policy.copy("pretrained"):
                pretrained = law_of(policy, sampler, x_t, steps, conditioning)
            loss = loss + self.alpha * law.kl(pretrained)
        return loss.mean()

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        other = copy.copy(self)  # so that neither replay nor critics stay
        other.rollouts_seen = 0
        other.remember(rollout)
        samples = torch.arange(len(rollout), device=policy.device)
        steps, noise = torch.zeros_like(samples), torch.zeros_like(rollout.x_0)
        other.actor_loss(policy, rollout.sampler, samples, steps, noise).backward()

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if self.rollouts_seen:
            state["critics"] = [part.state_dict() for part in (self.critics, self.targets, self.critic_optimiser)]
            state["replay"] = self.replay.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if not self.rollouts_seen:
            return
        self.replay = Replay.from_state(state["replay"])
        self.make_critics()
        critics, targets, optimiser = state["critics"]
        self.critics.load_state_dict(critics)
        self.targets.load_state_dict(targets)
        self.critic_optimiser.load_state_dict(optimiser)
