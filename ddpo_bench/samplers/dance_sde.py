"""Dance-SDE (DanceGRPO, Xue et al. 2025, arXiv 2505.07818): noise that is the same at every step.

g = eta in `sde_rows`, except for the last step, which leads to the predicted x_0 without noise, and so has no density:
the public code (XueZeyue/DanceGRPO, `train_grpo_flux.py`) decodes that prediction, and never trains the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.registry import register
from ddpo_bench.samplers.flow_sampler import NoisyFlowSampler, Rows, sde_rows


@register("sampler", "dance_sde")
@dataclass
class DanceSDE(NoisyFlowSampler):
    """The SDE of flow matching with constant noise eta, as DanceGRPO uses it (Xue et al. 2025)."""

    eta: float = option(0.3, "the noise of every step; 0 is the ODE, without a log-prob", minimum=0, maximum=10)

    @property
    def noisy_steps(self) -> range:
        return super().noisy_steps[:-1]

    def rows(self, sigmas: Tensor) -> Rows:
        g = torch.full_like(sigmas[:-1], self.eta)
        g[-1] = 0
        return sde_rows(sigmas, g)
