"""DDIM with eta > 0 as a stochastic policy: the Gaussian law of x_{t-1} given x_t (Song et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from ddpo_kernels import AffineStep, Backend, BackendUnavailable, check_backend
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Law
from ddpo_bench.registry import register
from ddpo_bench.samplers.ddim_schedule import ddim_coefficients
from ddpo_bench.samplers.ddim_thresholding import ThresholdedLaw
from ddpo_bench.samplers.law import AffineLaw

if TYPE_CHECKING:
    from diffusers import DDIMScheduler


def clip_of(scheduler: DDIMScheduler) -> float | None:
    """The range that x0_hat is clipped to, or None."""
    return scheduler.config.clip_sample_range if scheduler.config.clip_sample else None


@register("sampler", "ddim")
@dataclass
class DDIM:
    """DDIM with eta > 0, as DDPO uses it (Song et al. 2021)."""

    steps: int = option(10, "denoising steps of a trajectory", minimum=1, maximum=1000, unit="steps")
    eta: float = option(
        1.0, "share of the DDPM posterior's noise; at 0 a step has no density, hence no log-prob", above=0, maximum=1
    )

    def start(self, scheduler_config: dict[str, Any], device: torch.device, backend: Backend = "auto") -> None:
        """Build the schedule from the model's own scheduler configuration.

        Dynamic thresholding sorts each sample and has no fused kernel: its laws are made of torch operations.

        Raises:
            NoDensity: where a step's standard deviation is 0.
            BackendUnavailable: for "triton" where it cannot run.
        """
        from diffusers import DDIMScheduler  # takes seconds

        check_backend(backend, device)
        self.backend: Backend = backend
        self.scheduler = DDIMScheduler.from_config(scheduler_config)
        if self.scheduler.config.thresholding and backend == "triton":
            raise BackendUnavailable("backend: triton: dynamic thresholding has no fused kernel; use auto or torch.")
        self.scheduler.set_timesteps(self.steps)
        self.timesteps = self.scheduler.timesteps.to(device)
        exact = ddim_coefficients(self.scheduler, self.scheduler.timesteps, self.eta)
        self.coefficients = exact.to(device, torch.float32)
        self.table = exact.table(self.scheduler.config.clip_sample).to(device, torch.float32)

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        if self.scheduler.config.thresholding:
            return ThresholdedLaw(self.scheduler, self.coefficients[step], model_output, x_t, guidance_scale)
        clip = clip_of(self.scheduler)
        return AffineLaw(AffineStep(model_output, x_t, self.table, step, guidance_scale, clip), self.backend)
