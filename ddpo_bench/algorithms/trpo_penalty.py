"""PPO's adaptive KL penalty (Schulman et al. 2017, section 4), with the exact Gaussian KL of a transition.

It is the penalty form of TRPO's constraint (Schulman et al. 2015), without the natural gradient and the line search
of `trpo`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions
from ddpo_bench.options import option
from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.registry import register

TOLERANCE = 1.5  # KL may leave the target by this factor before beta moves (Schulman et al. 2017, eq. 8)


@register("algorithm", "trpo_penalty")
@dataclass
class TRPOPenalty(GradientAlgorithm):
    """Importance-weighted surrogate with an adaptive penalty on the exact KL to the behaviour policy."""

    max_kl: Quantity = option(
        Quantity(80.0, NATS),
        "target KL of a whole trajectory to the behaviour policy after an update",
        above=0,
        maximum=1e9,
    )
    initial_beta: float = option(
        1.0, "initial weight of the penalty on a step's KL, which is in mean units", above=0, maximum=1e9
    )

    def start(self, policy: Policy, seed: int) -> None:
        super().start(policy, seed)
        self.beta = self.initial_beta
        self.target = self.max_kl.mean_units(math.prod(policy.latent_shape))

    def loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """mean(-A r + beta * KL_exact(old || new))."""
        loss = (-batch.advantages * batch.ratio + self.beta * batch.kl).mean()
        surrogate = self.beta * batch.kl.detach().mean() - loss.detach()
        return loss, {"trpo_penalty/surrogate": surrogate, **batch.kl_estimates}

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        metrics = super().update(policy, rollout)
        used = self.beta
        if metrics["kl_behaviour"] > TOLERANCE * self.target:
            self.beta *= 2
        elif metrics["kl_behaviour"] < self.target / TOLERANCE:
            self.beta /= 2
        return metrics | {"trpo_penalty/beta": used}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"beta": self.beta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.beta = state["beta"]
