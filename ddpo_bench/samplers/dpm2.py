"""DPM-Solver++(2M) on a flow-matching model's ODE (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

It steps as Euler does, x' = x + v dt, but from an extrapolated prediction of x_0, which the step before helps to tell:
    D = x_0 + (x_0 - x_0_before) h / (2 h_before),    h = log((1 - s') / s') - log((1 - s) / s)
The first and the last step are of first order, as in diffusers and in DiffusionNFT's `dpm2`; so is the second one after
a start at s = 1, whose h is infinite.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from ddpo_kernels import guided, per_sample
from torch import Tensor

from ddpo_bench.protocols import Law
from ddpo_bench.registry import register
from ddpo_bench.samplers.flow_sampler import FlowSampler, Rows, ode_rows


@register("sampler", "dpm2")
@dataclass
class DPM2(FlowSampler):
    """DPM-Solver++(2M) on a flow-matching ODE: of second order at one pass a step, deterministic (Lu et al. 2022)."""

    @property
    def noisy_steps(self) -> range:
        return range(0)

    def rows(self, sigmas: Tensor) -> Rows:
        self.weights = extrapolation(sigmas).to(self.levels.device, torch.float32)
        self.before: list[Tensor] | None = None
        return ode_rows(sigmas)

    def for_trajectories(self) -> DPM2:
        made = copy.copy(self)
        made.before = []
        return made

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        """Of the next step of `for_trajectories`; without it no step before is known, and this one is Euler's."""
        velocity = guided(model_output.to(x_t.dtype), len(x_t), guidance_scale)
        if self.before is not None:
            x_0 = x_t - per_sample(self.levels[step], x_t) * velocity
            if self.before:
                velocity = velocity - per_sample(self.weights[step], x_t) * (x_0 - self.before.pop())
            self.before.append(x_0)
        return super().law(velocity, x_t, step, 1.0)


def extrapolation(sigmas: Tensor) -> Tensor:
    """[T]: what x_0 - x_0_before is multiplied with to be taken from the velocity, h / (2 h_before s)."""
    s = sigmas.clamp(max=1)  # which a shift may exceed by rounding
    h = ((1 - s) / s).log().diff()
    weights = torch.zeros_like(h)
    weights[1:-1] = h[1:-1] / (2 * h[:-2])
    return weights / s[:-1]
