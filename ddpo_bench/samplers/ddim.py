"""DDIM as a stochastic policy: the Gaussian law of x_{t-1} given x_t (Song et al. 2021); deterministic at eta = 0."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ddpo_kernels import AffineStep, Backend, BackendUnavailable, check_backend, per_sample
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Law
from ddpo_bench.registry import register
from ddpo_bench.samplers.ddim_schedule import (
    Coefficients,
    ddim_coefficients,
    deterministic_coefficients,
    forward_coefficients,
)
from ddpo_bench.samplers.ddim_thresholding import ThresholdedLaw
from ddpo_bench.samplers.law import AffineLaw
from ddpo_bench.samplers.noise_schedule import NoiseSchedule, noise_schedule
from ddpo_bench.samplers.window import WINDOW, Window, Windowed


@register("sampler", "ddim")
@dataclass
class DDIM(Windowed):
    """DDIM, whose noise is that of DDPO at eta = 1 and none at eta = 0 (Song et al. 2021)."""

    steps: int = option(10, "number of denoising steps in a trajectory", minimum=1, maximum=1000, unit="steps")
    eta: float = option(
        1.0, "share of the DDPM posterior's noise; at 0 a step has no density, and so no log-prob", minimum=0, maximum=1
    )
    window: Window | None = option(None, WINDOW)

    @property
    def noisy_steps(self) -> range:
        return range(self.steps if self.eta else 0)

    def fits(self, scheduler_config: Mapping[str, Any]) -> None:
        """Refuse a scheduler of another process than diffusion with betas, or one that these options cannot sample.

        Raises:
            NoDensity: where a step's standard deviation is 0 although eta is not.
            UnusableSchedule: where the process is another one, or its timesteps are not those of `steps`.
        """
        self.described(scheduler_config)

    def described(self, scheduler_config: Mapping[str, Any]) -> tuple[NoiseSchedule, Coefficients]:
        schedule = noise_schedule(scheduler_config, self.steps)
        if not self.eta:
            return schedule, deterministic_coefficients(schedule)
        return schedule, ddim_coefficients(schedule, schedule.timesteps, self.eta)

    def start(self, scheduler_config: Mapping[str, Any], device: torch.device, backend: Backend = "auto") -> None:
        """Build the schedule from the model's own scheduler configuration.

        Dynamic thresholding sorts each sample and has no fused kernel: its laws are made of torch operations.

        Raises:
            NoDensity, UnusableSchedule: as `fits`.
            BackendUnavailable: for "triton" where it cannot run.
        """
        check_backend(backend, device)
        self.backend: Backend = backend
        self.schedule, exact = self.described(scheduler_config)
        if self.schedule.thresholding and backend == "triton":
            raise BackendUnavailable("backend: triton: dynamic thresholding has no fused kernel; use auto or torch.")
        self.timesteps = self.schedule.timesteps.to(device)
        self.forward = forward_coefficients(self.schedule).to(device, torch.float32)
        self.use(exact)

    def use(self, exact: Coefficients) -> None:
        """Make laws of these coefficients, float64 on the CPU."""
        self.exact, device = exact, self.timesteps.device
        self.coefficients = exact.to(device, torch.float32)
        self.table = exact.table(self.schedule.clip is not None).to(device, torch.float32)

    def with_noise_in(self, steps: range) -> DDIM:
        made = copy.copy(self)
        made.use(self.exact.deterministic_outside(steps))
        return made

    def only(self, steps: range) -> DDIM:
        made, chosen = copy.copy(self), slice(steps.start, steps.stop)
        made.timesteps, made.forward = self.timesteps[chosen], self.forward[:, steps.start : steps.stop + 1]
        made.use(self.exact[torch.tensor(steps)])
        return made

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        if self.schedule.thresholding:
            return ThresholdedLaw(
                self.schedule.thresholding, self.coefficients[step], model_output, x_t, guidance_scale
            )
        step_of = AffineStep(model_output, x_t, self.table, step, guidance_scale, self.schedule.clip)
        return AffineLaw(step_of, self.backend)

    def noised(self, x_0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The forward process: x_t = sqrt(a) x_0 + sqrt(1 - a) noise, and what the model is to predict of it."""
        x_on_x, x_on_noise, target_on_x, target_on_noise = (per_sample(k, x_0) for k in self.forward[:, step])
        return x_on_x * x_0 + x_on_noise * noise, target_on_x * x_0 + target_on_noise * noise
