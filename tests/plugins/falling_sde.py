"""The SDE of flow matching whose noise falls to 0 with the noise level, g = eta s, so that its end leaves little."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.registry import register
from ddpo_bench.samplers.flow_sampler import NoisyFlowSampler, Rows, sde_rows


@register("sampler", "falling_sde")
@dataclass
class FallingSDE(NoisyFlowSampler):
    """The SDE of flow matching with noise in proportion to the noise level."""

    eta: float = option(1.0, "noise at s = 1; 0 is the ODE, without a log-prob", minimum=0, maximum=10)

    def rows(self, sigmas: Tensor) -> Rows:
        return sde_rows(sigmas, self.eta * sigmas[:-1])
