"""DPOK: policy gradient with a value baseline and a KL to the pretrained policy (Fan et al. 2023)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from ddpo_kernels import ppo_loss
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.critic import STEP_FEATURES, Critic
from ddpo_bench.algorithm_bases.optimiser import Averages, Optimiser
from ddpo_bench.algorithm_bases.pretrained_penalty import PretrainedPenalty
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register

TIMESTEPS = 1000  # in which the value network's input for the step is counted


@register("algorithm", "dpok")
@dataclass
class DPOK(PretrainedPenalty):
    """Clipped policy gradient with a learned value of noisy latents as baseline, and a KL to the pretrained policy."""

    clip_range: Quantity = option(
        Quantity(1.6, NATS),
        "distance of a transition's importance ratio from 1 at which it is clipped",
        above=0,
        maximum=1e9,
    )
    clip: Literal["max", "clamp"] = option(
        "max", "max: PPO's max(-A r, -A clip(r)); clamp: -A clip(r) as published, without gradients on the way back too"
    )
    kl_weight: float = option(
        0.001, "weight of a step's exact KL to the pretrained policy, which is in mean units", minimum=0, maximum=1e9
    )
    value_updates: int = option(
        20, "optimiser steps of the value network in an epoch, after those of the policy", minimum=1,
        maximum=LARGEST_COUNT,
    )  # fmt: skip
    value_batch: int = option(
        256, "noisy latents in an optimiser step of the value network", minimum=1, maximum=LARGEST_COUNT
    )
    value_learning_rate: float = option(1e-3, "learning rate of the value network", above=0, maximum=100)

    version: ClassVar[int] = 2  # the value network is fitted to a rollout after the policy learned from it

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.bound = self.clip_range.mean_units(math.prod(policy.latent_shape))
        self.shape = policy.latent_shape
        self.value: Critic  # from the first rollout on

    def make_value(self, text_dim: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.value = Critic(self.shape, TIMESTEPS, text_dim).to(device)
        self.value_optimiser = Optimiser(
            self.value.parameters(), self.value_learning_rate, self.weight_decay, self.adam_epsilon,
            self.max_grad_norm, rate="value_learning_rate",
        )  # fmt: skip

    def values(self, rollout: Rollout, x_t: Tensor, samples: Tensor, steps: Tensor) -> Tensor:
        """V(x_t, t, prompt), [B]."""
        return self.value(x_t, rollout.sampler.timesteps[steps], rollout.conditioning.pooled[samples])

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Learn from what the value network did not foresee, then fit it to the rollout.

        In this order, since a network fitted to these advantages first would have learned them by heart, and a baseline
        that knows a sample's own reward takes the signal away.
        """
        if not self.rollouts_seen:
            self.make_value(rollout.conditioning.pooled.shape[-1], policy.device)
        averages = Averages()
        metrics = super().update(policy, rollout)
        self.fit(rollout, averages)
        return metrics | averages.result()

    def fit(self, rollout: Rollout, averages: Averages) -> None:
        """Regress the value network on the advantages of trajectories at random noisy latents of them."""
        generator, device = self.generator(), self.value.stem.weight.device
        for _ in range(self.value_updates):
            samples = torch.randint(len(rollout), (self.value_batch,), generator=generator)
            steps = torch.randint(rollout.steps, (self.value_batch,), generator=generator)
            for part in processes.deal(self.value_batch, self.value_batch):
                x_t = rollout.states(samples[part.rows], steps[part.rows])
                n, k = (index[part.rows].to(device) for index in (samples, steps))
                loss = (self.values(rollout, x_t, n, k) - rollout.advantages[n]).square().mean()
                weight = part.kept / self.value_batch
                (loss * weight).backward()
                averages.add("dpok/value_loss", loss, weight)
            self.value_optimiser.step()
        self.value_optimiser.metrics()

    def surrogate(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(max(-A r, -A clip(r, 1 - c, 1 + c))) or mean(-A clip(r, ...)) for advantages less V."""
        with torch.no_grad():
            values = self.values(batch.rollout, batch.x_t, batch.samples, batch.steps)
        advantages = batch.advantages - values
        loss, statistics = ppo_loss(batch.log_prob, batch.log_prob_old, advantages, self.bound, batch.backend)
        if self.clip == "clamp":
            loss = (-advantages * batch.ratio.clamp(1 - self.bound, 1 + self.bound)).mean()
        return loss, statistics._asdict()

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        other = copy.copy(self)  # so that its value network does not stay
        other.make_value(rollout.conditioning.pooled.shape[-1], policy.device)
        super(DPOK, other).probe(policy, rollout)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if self.rollouts_seen:
            state["value"] = [self.value.state_dict(), self.value_optimiser.state_dict()]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if not self.rollouts_seen:
            return
        weights, optimiser = state["value"]
        inputs = weights["film.0.weight"]  # [_, step features + text_dim]
        self.make_value(inputs.shape[1] - STEP_FEATURES, self.optimiser.parameters[0].device)
        self.value.load_state_dict(weights)
        self.value_optimiser.load_state_dict(optimiser)
