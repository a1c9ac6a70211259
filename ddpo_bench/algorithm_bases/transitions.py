"""Stored transitions under the current policy: log-prob, ratio, exact KL, and the pretrained policy's law."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from ddpo_kernels import Backend, excess
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.law import law_of, mean_that_drew
from ddpo_bench.measuring import spread
from ddpo_bench.protocols import Law, Policy, Rollout


@dataclass
class Transitions:
    """A micro-batch of a rollout's transitions under the current policy.

    Attributes:
        law: of x_{t-1} given x_t, differentiable in the policy's parameters.
        x_t, x_prev: [B, C, H, W], stored.
        samples, steps: [B] each, indices into the rollout.
    """

    law: Law
    policy: Policy
    rollout: Rollout
    x_t: Tensor
    x_prev: Tensor
    samples: Tensor
    steps: Tensor

    @cached_property
    def mean_old(self) -> Tensor:
        """[B, C, H, W], of the behaviour policy's law."""
        rollout = self.rollout
        return mean_that_drew(self.x_prev, self.law, rollout.stored, self.samples, self.steps, rollout.sampler)

    @cached_property
    def log_prob_old(self) -> Tensor:
        """[B], of x_prev under the behaviour policy, mean units."""
        return self.rollout.log_probs[self.samples, self.steps]

    @cached_property
    def advantages(self) -> Tensor:
        """[B]."""
        return self.rollout.advantages[self.samples]

    @property
    def backend(self) -> Backend:
        """Of the arithmetic, as configured."""
        return self.rollout.sampler.backend

    @cached_property
    def log_prob(self) -> Tensor:
        """[B], of x_prev under `law`, mean units."""
        return self.law.log_prob(self.x_prev)

    @cached_property
    def kl(self) -> Tensor:
        """[B], exact KL(behaviour || current), mean units, differentiable."""
        return self.law.kl(self.mean_old)

    @property
    def ratio(self) -> Tensor:
        """[B], importance ratio; exactly 1 before the first optimiser step."""
        return (self.log_prob - self.log_prob_old).exp()

    @property
    def kl_estimates(self) -> dict[str, Tensor]:
        """Means of the estimators k1 and k3 of KL(behaviour || current), mean units (Schulman 2020)."""
        log_ratio = self.log_prob.detach() - self.log_prob_old
        return {"kl_k1": (-log_ratio).mean(), "kl_k3": excess(log_ratio).mean()}

    @cached_property
    def pretrained(self) -> Law:
        """The pretrained policy's law at the same x_t, without gradients; the network pass counts as learning."""
        self.rollout.network_passes.work += len(self.samples)
        with self.policy.copy("pretrained"):
            return law_at(self.policy, self.rollout, self.x_t, self.samples, self.steps)

    @property
    @torch.no_grad()
    def ratio_deviation(self) -> Tensor:
        """[], largest |ratio - 1|."""
        log_prob = self.law.log_prob(self.x_prev)  # not the cached one, which learning differentiates
        return ((log_prob - self.log_prob_old).exp() - 1).abs().max()


def transitions(policy: Policy, rollout: Rollout, samples: Tensor, steps: Tensor) -> Transitions:
    """Stored transitions under the current policy.

    Args:
        samples, steps: [B], indices into the rollout.
    """
    x_t, x_prev = rollout.states(samples, steps), rollout.states(samples, steps + 1)
    samples, steps = (indices.to(policy.device, non_blocking=True) for indices in (samples, steps))
    law = law_at(policy, rollout, x_t, samples, steps)
    return Transitions(law, policy, rollout, x_t, x_prev, samples, steps)


def law_at(policy: Policy, rollout: Rollout, x_t: Tensor, samples: Tensor, steps: Tensor) -> Law:
    return law_of(policy, rollout.sampler, x_t, steps, rollout.conditioning[samples])


@torch.no_grad()
def measure(policy: Policy, rollout: Rollout, share: float, generator: torch.Generator) -> tuple[float, float]:
    """How far the policy is from the one that drew a rollout, on some of its transitions.

    Args:
        share: of what is left of the epoch's passes for measuring.
    Returns:
        Largest |ratio - 1|, and the exact KL of a trajectory (summed over its steps), mean units.
    """
    passes = rollout.network_passes
    pairs = torch.stack(spread(passes.grant(share), len(rollout), rollout.steps, generator), 1)
    deviations, kls = [], []
    for chunk, kept in dealt(pairs, rollout.micro_batch, passes):
        batch = transitions(policy, rollout, chunk[:, 0], chunk[:, 1])
        deviations.append(batch.ratio_deviation)
        kls.append(batch.kl[:kept])
    deviation = processes.largest(torch.stack(deviations).max())
    return deviation.item(), processes.gathered(torch.cat(kls), len(pairs)).mean().item() * rollout.steps


def kl_metrics(name: str, kl: float, rollout: Rollout) -> dict[str, float]:
    """A KL in mean units under its name, and in nats."""
    return {name: kl, f"{name}_nats": kl * rollout.x_0[0].numel()}
