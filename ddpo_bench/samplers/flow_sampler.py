"""What samplers of flow matching share: the schedule, the affine law and its kernels, the forward process, the window.

With x = (1 - s) x_0 + s e, the model predicts v = e - x_0, and the law of a step from s to s' < s is linear in both:
    mean = on_x x + on_v v,    std
A sampler is a dataclass with one method, `rows`, that says what these are.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from ddpo_kernels import AffineStep, Backend, check_backend, per_sample
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Law, Sampler
from ddpo_bench.samplers.flow_schedule import flow_schedule
from ddpo_bench.samplers.law import AffineLaw, law_table
from ddpo_bench.samplers.window import WINDOW, Window, Windowed


class Rows(NamedTuple):
    """mean = on_x x + on_v v, and std, of each step, [T] float64; a std of 0 is a deterministic step."""

    on_x: Tensor
    on_v: Tensor
    std: Tensor


@dataclass
class FlowSampler(Sampler):
    """Laws of a flow-matching model at the noise levels of its own scheduler."""

    steps: int = option(10, "number of denoising steps in a trajectory", minimum=1, maximum=1000, unit="steps")

    @abstractmethod
    def rows(self, sigmas: Tensor) -> Rows:
        """The laws of all steps.

        Args:
            sigmas: [T + 1], float64: step k leads from sigmas[k] to sigmas[k + 1]; the first is 1 or just below, the
                last 0.
        """

    def fits(self, scheduler_config: Mapping[str, Any]) -> None:
        """Refuse a scheduler of another process than flow matching, or one whose noise levels are not known.

        Raises:
            UnusableSchedule: saying what it is, and which sampler fits.
        """
        flow_schedule(scheduler_config, self.steps)

    def start(self, scheduler_config: Mapping[str, Any], device: torch.device, backend: Backend = "auto") -> None:
        """Build the schedule from the model's own scheduler configuration.

        Raises:
            UnusableSchedule: as `fits`.
            BackendUnavailable: for "triton" where it cannot run.
        """
        check_backend(backend, device)
        self.backend: Backend = backend
        schedule = flow_schedule(scheduler_config, self.steps)
        self.timesteps = schedule.timesteps.to(device)
        self.levels = schedule.sigmas.to(device)  # one more than steps
        self.exact = schedule.sigmas.double()
        self.use(self.rows(self.exact))

    def use(self, rows: Rows) -> None:
        """Make laws of these rows, float64 on the CPU."""
        self.table = law_table(*rows).to(self.levels.device, torch.float32)

    def only(self, steps: range) -> FlowSampler:
        """These steps alone, counted from 0."""
        made, chosen = copy.copy(self), slice(steps.start, steps.stop)
        made.timesteps, made.table = self.timesteps[chosen], self.table[chosen]
        made.levels = self.levels[steps.start : steps.stop + 1]
        return made

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        return AffineLaw(AffineStep(model_output, x_t, self.table, step, guidance_scale), self.backend)

    def noised(self, x_0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The forward process: x_t = (1 - s) x_0 + s noise, and the velocity noise - x_0."""
        s = per_sample(self.levels[step], x_0)
        return (1 - s) * x_0 + s * noise, noise - x_0


@dataclass
class NoisyFlowSampler(FlowSampler, Windowed):
    """A flow sampler with noise, which `eta` scales; at eta = 0 it is the ODE."""

    window: Window | None = option(None, WINDOW)

    eta: float = 0.0  # an option of each sampler, since its scale is another in each

    @property
    def noisy_steps(self) -> range:
        """All but those whose std is 0: the last one, where it leads to the predicted x_0, and every one at eta = 0."""
        return range(self.steps if self.eta else 0)

    def with_noise_in(self, steps: range) -> NoisyFlowSampler:
        made, index = copy.copy(self), torch.arange(self.steps)
        is_noisy = (steps.start <= index) & (index < steps.stop)
        pairs = zip(self.rows(self.exact), ode_rows(self.exact), strict=True)
        made.use(Rows(*(torch.where(is_noisy, noisy, plain) for noisy, plain in pairs)))
        return made


def ode_rows(sigmas: Tensor) -> Rows:
    """Euler's step of the probability-flow ODE: x + v dt, dt = s' - s."""
    dt = sigmas.diff()
    return Rows(torch.ones_like(dt), dt, torch.zeros_like(dt))


def sde_rows(sigmas: Tensor, g: Tensor) -> Rows:
    """The SDE with the ODE's marginals and noise g, by Euler and Maruyama (Liu et al. 2025, Flow-GRPO, eq. 7 to 9).

    mean = x + [v + g^2 / (2 s) (x + (1 - s) v)] dt,    std = g sqrt(-dt)

    Args:
        sigmas: [T + 1].
        g: [T], at least 0.
    """
    s, dt = sigmas[:-1], sigmas.diff()
    pull = g.square() / (2 * s) * dt
    return Rows(1 + pull, dt + pull * (1 - s), g * (-dt).sqrt())
