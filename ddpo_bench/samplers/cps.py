"""Coefficients-preserving sampling (CPS; Wang & Yu 2025, arXiv 2509.05952): every level holds its own noise, no more.

With x_0 = x - s v and e = x + (1 - s) v as the model predicts them,
    std = s' sin(eta pi / 2),    mean = (1 - s') x_0 + sqrt(s'^2 - std^2) e
The last step leads to x_0 without noise, and so has no density.

The public code (IamCreateAI/FlowCPS, and those that took it over) scores -mean((x' - mean)^2), without 1 / (2 std^2)
and without constants.  Up to a constant, that is the log-density of a Gaussian whose std is sqrt(1/2) at every step, so
that ratios and clip ranges are on another scale.  KL is exact under both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import ddpo_kernels
from ddpo_kernels import AffineStep, Backend
from ddpo_kernels.gaussian import LOG_SQRT_2PI
from ddpo_kernels.table import COLUMNS
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Law
from ddpo_bench.registry import register
from ddpo_bench.samplers.flow_sampler import NoisyFlowSampler, Rows
from ddpo_bench.samplers.law import AffineLaw


@register("sampler", "cps")
@dataclass
class CPS(NoisyFlowSampler):
    """Coefficients-preserving sampling of a flow-matching model (Wang & Yu 2025)."""

    eta: float = option(
        0.8, "its sine, of eta * pi / 2, is the share of a level's noise that is new; 0 is the ODE, without a log-prob",
        minimum=0, maximum=1,
    )  # fmt: skip
    density: Literal["gaussian", "published"] = option(
        "gaussian",
        "gaussian: the log-prob of the Gaussian that is drawn from; published: -mean((x' - mean)^2), which public code "
        "scores in its place, and with which clip ranges are on another scale",
    )

    @property
    def noisy_steps(self) -> range:
        return super().noisy_steps[:-1]

    def rows(self, sigmas: Tensor) -> Rows:
        s, s_next, angle = sigmas[:-1], sigmas[1:], self.eta * math.pi / 2
        kept = s_next * math.cos(angle)
        return Rows((1 - s_next) + kept, kept * (1 - s) - (1 - s_next) * s, s_next * math.sin(angle))

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        given = AffineStep(model_output, x_t, self.table, step, guidance_scale)
        if self.density == "gaussian":
            return AffineLaw(given, self.backend)
        scored = AffineStep(model_output, x_t, with_published_density(self.table), step, guidance_scale)
        return PublishedLaw(given, scored, self.backend)


class PublishedLaw(AffineLaw):
    """The law of CPS, with the score of the public code for its log-prob.

    Args:
        scored: the step with the rows of `with_published_density`.
    """

    def __init__(self, step: AffineStep, scored: AffineStep, backend: Backend):
        super().__init__(step, backend)
        self.scored = scored

    def log_prob(self, x_prev: Tensor) -> Tensor:
        """[B], -mean((x_prev - mean)^2), which is no log-prob."""
        return ddpo_kernels.score(self.scored, x_prev, backend=self.backend).log_prob

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        drawn = ddpo_kernels.sample(self.scored, noise, backend=self.backend)
        return drawn.x_prev, drawn.log_prob


def with_published_density(table: Tensor) -> Tensor:
    """Rows by which the kernels' -mean(z^2) / 2 - log_std - log sqrt(2 pi) is -mean((x' - mean)^2)."""
    made = table.clone()
    made[:, COLUMNS.index("inverse_std")] = math.sqrt(2)
    made[:, COLUMNS.index("log_std")] = -LOG_SQRT_2PI
    return made
