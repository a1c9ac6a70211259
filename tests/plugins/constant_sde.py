"""The flow-matching SDE with constant noise (DanceGRPO, Xue et al. 2025) as a transition law.

With x = (1 - s) x_0 + s e, v = e - x_0 and dt = s' - s < 0:
mean = x + [v + g^2 / (2 s) (x + (1 - s) v)] dt, std = g sqrt(-dt).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ddpo_kernels import AffineStep, Backend, coefficient_table
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Law, Sampler
from ddpo_bench.registry import register
from ddpo_bench.samplers.law import AffineLaw


@register("sampler", "constant_sde")
@dataclass
class ConstantSDE(Sampler):
    """The flow-matching SDE with constant noise (DanceGRPO, Xue et al. 2025)."""

    steps: int = option(10, "denoising steps of a trajectory", minimum=1, maximum=1000, unit="steps")
    noise: float = option(0.3, "g, the noise of a whole trajectory", above=0, maximum=10)

    def fits(self, scheduler_config: Mapping[str, Any]) -> None:
        name = str(scheduler_config.get("_class_name", "DDIMScheduler"))
        if not name.startswith("FlowMatch"):
            raise ValueError(f"sampler: constant_sde samples flow-matching models; this model's scheduler is {name}.")

    def start(self, scheduler_config: Mapping[str, Any], device: torch.device, backend: Backend = "auto") -> None:
        self.fits(scheduler_config)
        levels = torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)
        s, dt = levels[:-1], levels.diff()
        pull = self.noise**2 / (2 * s)
        table = coefficient_table(1 + pull * dt, (1 + pull * (1 - s)) * dt, self.noise * (-dt).sqrt())
        self.table, self.backend = table.to(device, torch.float32), backend
        self.levels = levels.to(device, torch.float32)
        self.timesteps = (s * scheduler_config["num_train_timesteps"]).round().long().to(device)

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        return AffineLaw(AffineStep(model_output, x_t, self.table, step, guidance_scale), self.backend)

    def noised(self, x_0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        s = self.levels[step].view(-1, 1, 1, 1)
        return (1 - s) * x_0 + s * noise, noise - x_0
