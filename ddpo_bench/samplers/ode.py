"""The probability-flow ODE of flow matching by Euler's steps, as the models' own pipelines sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.registry import register
from ddpo_bench.samplers.flow_sampler import FlowSampler, Rows, ode_rows


@register("sampler", "ode")
@dataclass
class ODE(FlowSampler):
    """Euler's steps along a flow-matching model's ODE: deterministic, for algorithms that need no log-prob."""

    @property
    def noisy_steps(self) -> range:
        return range(0)

    def rows(self, sigmas: Tensor) -> Rows:
        return ode_rows(sigmas)
