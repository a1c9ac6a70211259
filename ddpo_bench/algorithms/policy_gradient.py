"""REINFORCE on the denoising trajectory: DDPO-SF (Black et al. 2024; Williams 1992)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.registry import register


@register("algorithm", "policy_gradient")
@dataclass
class PolicyGradient(GradientAlgorithm):
    """Score-function policy gradient, importance-weighted after the first update of a rollout (DDPO-SF)."""

    minibatches: int = option(
        1,
        "optimiser steps in one pass over a rollout; learning is on-policy with 1, and 1 pass",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    entropy_coef: float = option(
        0.0,
        "weight of the estimator -log_prob; with a fixed std the true entropy is constant",
        minimum=0,
        maximum=1e6,
    )

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(-A w log_prob) - entropy_coef * mean(-log_prob), with w the detached ratio (1 on policy)."""
        weighted = batch.advantages * batch.ratio.detach() * batch.log_prob
        return (-weighted + self.entropy_coef * batch.log_prob).mean(), {}
