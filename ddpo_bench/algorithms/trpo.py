"""Trust region policy optimisation with a natural gradient and a line search (Schulman et al. 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.conjugate_gradient import conjugate_gradient
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.fisher import Fisher, collected_gradient, split_like
from ddpo_bench.algorithm_bases.optimiser import NonFiniteGradient
from ddpo_bench.algorithm_bases.trajectory import noisy_steps
from ddpo_bench.algorithm_bases.transitions import kl_metrics, transitions
from ddpo_bench.measuring import LEARNING, spread
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Algorithm, Footprint, Policy, Rollout
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig

BACKTRACKS, SHRINK = 10, 0.8  # tries of the line search, each of this share of the step before
VECTORS = 5  # of the size of the trained parameters, that an update holds


@register("algorithm", "trpo")
@dataclass
class TRPO(Algorithm):
    """One natural-gradient step a rollout, as long as the exact KL allows (TRPO)."""

    max_kl: Quantity = option(
        Quantity(80.0, NATS),
        "largest exact KL of a whole trajectory to the behaviour policy after an update (delta)",
        above=0,
        maximum=1e9,
    )
    cg_iterations: int = option(
        10, "iterations of the conjugate gradient method, each one product with the Fisher matrix", minimum=1,
        maximum=LARGEST_COUNT,
    )  # fmt: skip
    cg_damping: float = option(
        0.1, "added to the Fisher matrix, in units of its curvature along the gradient", minimum=0, maximum=1e3
    )
    fisher_fraction: float = option(
        0.1,
        "share of the rollout's transitions, drawn at random, of which the Fisher matrix is made",
        above=0,
        maximum=1,
    )

    version: ClassVar[int] = 2  # damping does not shorten the step
    sharded: ClassVar[bool] = False  # Fisher products set directions on whole weights

    def mistakes(self, config: RunConfig) -> list[str]:
        """Compiled blocks have no derivative along a direction."""
        if config.compile == "none":
            return []
        return ["compile: trpo differentiates the network along directions, unlike compiled blocks; set compile: none."]

    def updates(self, config: RunConfig) -> int:
        return config.epochs

    def network_passes(self, config: RunConfig) -> tuple[int, int]:
        """With one try of the line search an epoch."""
        transitions = config.samples_per_epoch * noisy_steps(config)
        fisher = self.fisher_transitions(transitions) * self.cg_iterations
        return config.epochs * (2 * transitions + 2 * fisher), config.epochs * (transitions + fisher)

    def state_bytes(self, config: RunConfig, policy: Footprint) -> int:
        """Nothing of it is kept between epochs, but an update holds it."""
        return VECTORS * 4 * policy.trained

    def fisher_transitions(self, transitions: int) -> int:
        return max(1, round(transitions * self.fisher_fraction))

    def start(self, policy: Policy, seed: int) -> None:
        self.seed, self.rollouts_seen = seed, 0
        self.limit = self.max_kl.mean_units(math.prod(policy.latent_shape))

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Maximise mean(A r) to first order where the KL is at most max_kl to second order, then search along the step.

        Schulman et al. 2015, eq. 14 and appendix C; the policy stays where no share of the step is good.
        """
        gradient, metrics = self.gradient(policy, rollout)
        share, kl, surrogate, residual = 0.0, 0.0, metrics["trpo/surrogate"], 0.0
        if metrics["grad_norm"]:
            step, residual = self.natural_step(policy, rollout, gradient)
            share, kl, surrogate = self.line_search(policy, rollout, step, surrogate)
        self.rollouts_seen += 1
        found = {"trpo/surrogate": surrogate, "trpo/step_share": share, "trpo/cg_residual": residual}
        return metrics | found | {"loss": -surrogate} | kl_metrics("kl_behaviour", kl, rollout)

    def natural_step(self, policy: Policy, rollout: Rollout, gradient: Tensor) -> tuple[Tensor, float]:
        """sqrt(2 max_kl / x^T F x) x with x = F^-1 g, [P], and the relative residual with which x was found."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.rollouts_seen)
        count = self.fisher_transitions(len(rollout) * rollout.steps)
        pairs = torch.stack(spread(count, len(rollout), rollout.steps, generator), 1)
        fisher = Fisher(policy, rollout, pairs)
        x, curvature, residual = conjugate_gradient(fisher.product, gradient, self.cg_iterations, self.cg_damping)
        return (2 * self.limit / curvature).sqrt() * x, residual.item()

    def gradient(self, policy: Policy, rollout: Rollout) -> tuple[Tensor, dict[str, float]]:
        """Of mean(A r) over all transitions, [P], and metrics from before the step."""
        pairs, passes = every_transition(rollout), rollout.network_passes
        surrogate = torch.zeros((), dtype=torch.float64, device=policy.device)
        deviation = torch.zeros_like(surrogate)
        for chunk, kept in dealt(pairs, rollout.micro_batch, passes):
            batch = transitions(policy, rollout, *chunk.unbind(1))
            own = (batch.advantages * batch.ratio).sum() * (bool(kept) / len(pairs))
            own.backward()
            surrogate += own.detach()
            deviation = torch.maximum(deviation, batch.ratio_deviation)
            passes.work += LEARNING * len(chunk)
        gradient = collected_gradient(policy)
        read = torch.stack((gradient.norm().double(), processes.total(surrogate), processes.largest(deviation)))
        norm, before, deviating = read.tolist()
        if not math.isfinite(norm):
            raise NonFiniteGradient(
                f"the gradient norm is {norm}: learning diverged; lower algorithm.max_kl. In the first update the "
                "backward pass overflows: set policy.precision: fp32, or lower policy.guidance_scale."
            )
        grad_rms = norm / math.sqrt(len(gradient))
        found = {"grad_norm": norm, "grad_rms": grad_rms, "ratio_deviation_max": deviating, "trpo/surrogate": before}
        return gradient, found

    def line_search(self, policy: Policy, rollout: Rollout, step: Tensor, before: float) -> tuple[float, float, float]:
        """Take the longest of some shares of a step that keeps the KL and improves the surrogate, or none.

        Returns:
            The share taken, the exact KL of a trajectory there in mean units, and the surrogate there.
        """
        parameters = policy.parameters()
        old = [parameter.detach().clone() for parameter in parameters]
        for number in range(BACKTRACKS):
            share = SHRINK**number
            move(parameters, old, share * step)
            kl, surrogate = self.reached(policy, rollout)
            if kl <= self.limit and surrogate > before:  # neither holds where the gradient was 0
                return share, kl, surrogate
        move(parameters, old, torch.zeros_like(step))
        return 0.0, 0.0, before

    @torch.no_grad()
    def reached(self, policy: Policy, rollout: Rollout) -> tuple[float, float]:
        """Exact KL of a trajectory in mean units, and mean(A r), over all transitions."""
        pairs, passes = every_transition(rollout), rollout.network_passes
        sums = torch.zeros(2, dtype=torch.float64, device=policy.device)
        for chunk, kept in dealt(pairs, rollout.micro_batch, passes):
            batch = transitions(policy, rollout, *chunk.unbind(1))
            both = torch.stack((batch.kl.sum() * rollout.steps, (batch.advantages * batch.ratio).sum()))
            sums += both.double() * bool(kept)
            passes.work += len(chunk)
        kl, surrogate = (processes.total(sums) / len(pairs)).tolist()
        return kl, surrogate

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        samples = torch.arange(len(rollout))
        transitions(policy, rollout, samples, torch.zeros_like(samples)).ratio.sum().backward()

    def state_dict(self) -> dict[str, Any]:
        return {"rollouts_seen": self.rollouts_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rollouts_seen = state["rollouts_seen"]


def every_transition(rollout: Rollout) -> Tensor:
    """Pairs (sample, step), [M, 2], of all transitions, in the batches in which they were sampled."""
    return torch.cartesian_prod(torch.arange(rollout.steps), torch.arange(len(rollout))).flip(1)


@torch.no_grad()
def move(parameters: list[torch.nn.Parameter], old: list[Tensor], step: Tensor) -> None:
    """Set parameters to old values plus a step [P]."""
    for parameter, value, along in zip(parameters, old, split_like(step, parameters), strict=True):
        torch.add(value, along, out=parameter)
