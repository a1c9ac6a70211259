"""Soft actor-critic on the denoising trajectory (Haarnoja et al. 2018), for a policy with a fixed std.

A transition is deterministic given the action, so Q(s, a) = V(x_{t-1}, t-1, prompt).  The actor is reparameterised,
x' = mean_theta + std * z, and minimises -min_k V_k(x', t-1, prompt) + alpha * KL(policy || pretrained): with a fixed
std the entropy is constant in theta, and the KL to the pretrained model takes its place.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.algorithms.critic import Twins
from ddpo_bench.algorithms.gradient import Averages, step
from ddpo_bench.algorithms.transitions import Drift
from ddpo_bench.protocols import Conditioning, Policy, Rollout
from ddpo_bench.registry import register


@dataclass
class Memory:
    """What the replay keeps of one rollout: latents [N, T + 1, C, H, W], rewards [N] and the conditioning."""

    latents: Tensor
    rewards: Tensor
    conditioning: Conditioning


Draw = tuple[Memory, Tensor, Tensor]  # a memory, sample indices [b] and step indices [b] into it


@register("algorithm", "sac")
@dataclass
class SAC:
    """Reparameterised actor against twin critics of the noisy latents, with a KL penalty to the pretrained model."""

    learning_rate: float = 3e-4  # of the actor's AdamW
    critic_learning_rate: float = 1e-3  # of the critics' AdamW
    updates_per_epoch: int = 5  # actor steps an epoch
    critic_updates: int = 40  # critic steps an epoch, before the actor's
    batch: int = 256  # transitions in an actor or critic step
    replay_rollouts: int = 4  # latest rollouts that are learned from
    warmup_epochs: int = 1  # first epochs in which only the critics learn
    tau: float = 0.005  # Polyak step of the target critics, per critic step
    reward_share: float = 0.5  # of the trajectory's own reward in a critic's target; the rest is bootstrapped
    alpha: float = 0.01  # weight of the KL to the pretrained model (mean units, one step)
    weight_decay: float = 1e-4  # of both AdamW
    max_grad_norm: float = 1.0  # gradients are scaled down to this norm

    def __post_init__(self) -> None:
        for name in ("learning_rate", "critic_learning_rate", "updates_per_epoch", "batch", "replay_rollouts"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above 0, got {getattr(self, name)}.")
        if not 0 < self.tau <= 1 or not 0 <= self.reward_share <= 1:
            raise ValueError("tau must lie in (0, 1] and reward_share in [0, 1].")

    def start(self, policy: Policy, seed: int) -> None:
        self.seed = seed
        self.rollouts_seen = 0
        self.memories: deque[Memory] = deque(maxlen=self.replay_rollouts)
        self.optimiser = torch.optim.AdamW(policy.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

    def make_critics(self, memory: Memory) -> None:
        """Built at the first rollout, which tells the latents' shape and the prompts' width."""
        _, states, channels, height, width = memory.latents.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            critics = Twins((channels, height, width), states - 1, memory.conditioning.embeddings.shape[-1])
        self.critics = critics.to(memory.latents.device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.critic_optimiser = torch.optim.AdamW(
            self.critics.parameters(), lr=self.critic_learning_rate, weight_decay=self.weight_decay
        )

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Critic steps on the replay, then actor steps on its states."""
        self.memories.append(Memory(rollout.latents, rollout.rewards.float(), rollout.conditioning))
        if self.rollouts_seen == 0:
            self.make_critics(self.memories[-1])
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.rollouts_seen)
        averages = Averages()
        drift = Drift.of(rollout, generator)
        averages.add("ratio_deviation_max", drift.measure(policy, rollout)[0])
        for _ in range(self.critic_updates):
            averages.add("sac/critic_loss", self.critic_step(rollout, generator))
        if self.rollouts_seen >= self.warmup_epochs:
            for _ in range(self.updates_per_epoch):
                self.actor_step(policy, rollout, generator, averages)
        self.rollouts_seen += 1
        return averages.result() | drift.metrics(policy, rollout)

    def critic_step(self, rollout: Rollout, generator: torch.Generator) -> float:
        """Regress both critics on targets at random states of the replay, the final ones included; returns the loss."""
        loss = torch.zeros((), device=rollout.latents.device)
        for m, n, k in self.draw(rollout.steps + 1, generator):
            text = pooled(m.conditioning, n)
            target = self.critic_target(m, n, k, text)
            values = self.critics(m.latents[n, k], k, text)  # [2, B]
            loss = loss + (values - target).square().sum() / (2 * self.batch)
        loss.backward()
        step(self.critic_optimiser, list(self.critics.parameters()), self.max_grad_norm)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.targets.parameters()), list(self.critics.parameters()), self.tau)
        return loss.item()

    @torch.no_grad()
    def critic_target(self, memory: Memory, samples: Tensor, steps: Tensor, text: Tensor) -> Tensor:
        """[B]: the reward at x_0; before it, a mix of the reward and the target critics' value of the next state.

        The next state is the stored one; a short replay keeps it close to the current policy's.
        """
        mean, std = self.reward_scale()
        reward = (memory.rewards.to(text.device)[samples] - mean) / std
        last = memory.latents.shape[1] - 1
        following = (steps + 1).clamp(max=last)
        bootstrap = self.targets(memory.latents[samples, following], following, text).min(0).values
        mixed = self.reward_share * reward + (1 - self.reward_share) * bootstrap
        return torch.where(steps == last, reward, mixed)

    def reward_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the replay's rewards: critics learn standardised ones."""
        rewards = torch.cat([memory.rewards for memory in self.memories])
        return float(rewards.mean()), float(rewards.std(correction=0)) + 1e-6

    def actor_step(self, policy: Policy, rollout: Rollout, generator: torch.Generator, averages: Averages) -> None:
        self.critics.requires_grad_(False)
        for m, n, k in self.draw(rollout.steps, generator):
            for indices in torch.arange(len(n)).split(rollout.micro_batch):
                loss = self.actor_loss(policy, rollout, m, n[indices], k[indices], generator)
                share = len(indices) / self.batch
                (loss * share).backward()
                averages.add("loss", loss.item(), share)
        self.critics.requires_grad_(True)
        averages.add("grad_norm", step(self.optimiser, policy.parameters(), self.max_grad_norm))

    def actor_loss(
        self, policy: Policy, rollout: Rollout, memory: Memory, n: Tensor, k: Tensor, generator: torch.Generator
    ) -> Tensor:
        """mean(-min_k V_k(x', t-1, prompt) + alpha * KL(policy || pretrained))."""
        sampler, x_t, conditioning = rollout.sampler, memory.latents[n, k], memory.conditioning[n]
        timesteps = sampler.timesteps[k]
        law = sampler.law(policy.predict(x_t, timesteps, conditioning), x_t, k, policy.guidance_scale)
        noise = torch.randn(x_t.shape, generator=generator).to(x_t.device)
        loss = -self.critics(law.sample(noise), k + 1, pooled(memory.conditioning, n)).min(0).values
        if self.alpha:
            with policy.reference():
                output = policy.predict(x_t, timesteps, conditioning)
                reference = sampler.law(output, x_t, k, policy.guidance_scale)
            loss = loss + self.alpha * law.kl(reference)
        return loss.mean()

    def draw(self, steps: int, generator: torch.Generator) -> list[Draw]:
        """A batch of states of the replay, at step indices below `steps`, by the memory that holds them."""
        device = self.memories[-1].latents.device
        sizes = [len(memory.rewards) for memory in self.memories]
        flat = torch.randint(sum(sizes), (self.batch,), generator=generator)
        k = torch.randint(steps, (self.batch,), generator=generator)
        drawn, offset = [], 0
        for memory, size in zip(self.memories, sizes, strict=True):
            inside = (flat >= offset) & (flat < offset + size)
            if inside.any():
                drawn.append((memory, (flat[inside] - offset).to(device), k[inside].to(device)))
            offset += size
        return drawn

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"optimiser": self.optimiser.state_dict(), "rollouts_seen": self.rollouts_seen}
        if self.rollouts_seen:
            state["critics"] = [part.state_dict() for part in (self.critics, self.targets, self.critic_optimiser)]
            state["memories"] = [
                [m.latents, m.rewards, m.conditioning.embeddings, m.conditioning.unconditional] for m in self.memories
            ]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.rollouts_seen = state["rollouts_seen"]
        if not self.rollouts_seen:
            return
        for latents, rewards, embeddings, unconditional in state["memories"]:
            self.memories.append(Memory(latents, rewards.cpu(), Conditioning(embeddings, unconditional)))
        self.make_critics(self.memories[-1])
        critics, targets, optimiser = state["critics"]
        self.critics.load_state_dict(critics)
        self.targets.load_state_dict(targets)
        self.critic_optimiser.load_state_dict(optimiser)


def pooled(conditioning: Conditioning, samples: Tensor) -> Tensor:
    """[B, D]: mean of the prompt embeddings over tokens."""
    return conditioning.embeddings[samples].float().mean(1)
