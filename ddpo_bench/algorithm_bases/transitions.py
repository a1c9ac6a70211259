"""Stored transitions scored under the current policy: ratio, log-prob and exact KL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from ddpo_kernels import STATISTICS
from torch import Tensor

from ddpo_bench.measuring import spread
from ddpo_bench.protocols import Law, Policy, Rollout


@dataclass
class Transitions:
    """A micro-batch of transitions under the current policy.

    Attributes:
        law: of x_{t-1} given x_t, differentiable in the policy's parameters.
        x_prev: [B, C, H, W], stored.
        mean_old: [B, C, H, W], of the behaviour policy's law.
        log_prob_old: [B], of x_prev under the behaviour policy, mean units.
        advantages: [B].
    """

    law: Law
    x_prev: Tensor
    mean_old: Tensor
    log_prob_old: Tensor
    advantages: Tensor

    @cached_property
    def log_prob(self) -> Tensor:
        """[B], of x_prev under `law`, mean units."""
        return self.law.log_prob(self.x_prev)

    @cached_property
    def kl(self) -> Tensor:
        """[B], exact KL(behaviour || current), mean units, differentiable."""
        return self.law.kl_to_mean(self.mean_old)

    @property
    def ratio(self) -> Tensor:
        """[B], importance ratio; exactly 1 before the first optimiser step."""
        return (self.log_prob - self.log_prob_old).exp()

    @property
    @torch.no_grad()
    def ratio_deviation(self) -> Tensor:
        """[], largest |ratio - 1|."""
        log_prob = self.law.log_prob(self.x_prev)  # not the cached one, which learning differentiates
        return ((log_prob - self.log_prob_old).exp() - 1).abs().max()

    def policy_loss(self, clip_range: float | None = None, kl_weight: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(max(-A r, -A clip(r, 1 - c, 1 + c)) + kl_weight * KL), and its statistics by name."""
        mean_old = self.mean_old if kl_weight else None
        loss, statistics = self.law.policy_loss(
            self.x_prev, self.log_prob_old, self.advantages, clip_range, kl_weight, mean_old
        )
        return loss, dict(zip(STATISTICS, statistics.unbind(), strict=True))


def transitions(policy: Policy, rollout: Rollout, samples: Tensor, steps: Tensor) -> Transitions:
    """Score stored transitions under the current policy.

    Args:
        samples, steps: [B], indices into the rollout.
    """
    device = rollout.latents.device
    samples, steps = samples.to(device), steps.to(device)
    x_t = rollout.latents[samples, steps]  # [B, C, H, W]
    output = policy.predict(x_t, rollout.sampler.timesteps[steps], rollout.conditioning[samples])
    return Transitions(
        law=rollout.sampler.law(output, x_t, steps, policy.guidance_scale),
        x_prev=rollout.latents[samples, steps + 1],
        mean_old=rollout.means[samples, steps],
        log_prob_old=rollout.log_probs[samples, steps],
        advantages=rollout.advantages[samples],
    )


@torch.no_grad()
def measure(policy: Policy, rollout: Rollout, share: float, generator: torch.Generator) -> tuple[float, float]:
    """How far the policy is from the one that drew a rollout, on some of its transitions.

    Args:
        share: of what is left of the epoch's passes for measuring.
    Returns:
        Largest |ratio - 1|, and the exact KL of a trajectory (summed over its steps), mean units.
    """
    chosen = spread(rollout.network_passes.grant(share), len(rollout), rollout.steps, generator)
    pairs = zip(*(indices.split(rollout.micro_batch) for indices in chosen), strict=True)
    batches = [transitions(policy, rollout, samples, steps) for samples, steps in pairs]
    deviation = torch.stack([batch.ratio_deviation for batch in batches]).max()
    return deviation.item(), torch.cat([batch.kl for batch in batches]).mean().item() * rollout.steps


def kl_metrics(name: str, kl: float, rollout: Rollout) -> dict[str, float]:
    """A KL in mean units under its name, and in nats."""
    return {name: kl, f"{name}_nats": kl * rollout.latents[0, 0].numel()}
