"""Flow-SDE (Flow-GRPO, Liu et al. 2025, arXiv 2505.05470): noise that grows with the noise level.

g = eta sqrt(s / (1 - s)) in `sde_rows`.  At s = 1, where the first step begins, g is infinite: as in the public code
(yifan123/flow_grpo, `sd3_sde_with_logprob.py`), that step's denominator is 1 - s' of the level where it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.registry import register
from ddpo_bench.samplers.flow_sampler import NoisyFlowSampler, Rows, sde_rows


@register("sampler", "flow_sde")
@dataclass
class FlowSDE(NoisyFlowSampler):
    """The SDE of flow matching with noise eta sqrt(s / (1 - s)), as Flow-GRPO uses it (Liu et al. 2025)."""

    eta: float = option(
        0.7, "share of sqrt(s / (1 - s)) that is the noise; 0 is the ODE, without a log-prob", minimum=0, maximum=10
    )

    def rows(self, sigmas: Tensor) -> Rows:
        s = sigmas[:-1]
        left = 1 - torch.cat([sigmas[1:2], s[1:]])
        return sde_rows(sigmas, self.eta * (s / left).sqrt())
