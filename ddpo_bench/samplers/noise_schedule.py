"""The noise process of a pretrained model, and the timesteps at which it is sampled, as its scheduler class says.

The numbers are those of diffusers' classes bit for bit, without importing them, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ddpo_bench.options import Bounds
from ddpo_bench.registry import unknown
from ddpo_bench.samplers.scheduler_classes import (
    SPACINGS,
    Solver,
    UnusableSchedule,
    class_name,
    refuse_wrong_numbers,
    refused,
    solver_of,
)

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

NUMBERS: dict[str, tuple[Any, Bounds]] = {  # keys and what they may be
    "num_train_timesteps": (int, Bounds(minimum=1, maximum=10**6)),
    "steps_offset": (int, Bounds(minimum=0, maximum=10**6)),
    "beta_start": ((int, float), Bounds(minimum=0, below=1)),
    "beta_end": ((int, float), Bounds(above=0, below=1)),
    "clip_sample_range": ((int, float), Bounds(above=0)),
    "dynamic_thresholding_ratio": ((int, float), Bounds(above=0, maximum=1)),
    "sample_max_value": ((int, float), Bounds(minimum=1)),
}
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
LARGEST_BETA = 0.999  # of the schedules that are given as alpha_bar(t)


@dataclass(frozen=True)
class NoiseSchedule:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps at `steps` of its timesteps.

    Attributes:
        name: the scheduler's class.
        alphas_cumprod: [num_train_timesteps], a_t.
        timesteps: [steps], integer, descending.
        prediction_type: what the model predicts: epsilon, v_prediction or sample.
        clip: the range that predictions of x_0 are clipped to, or None.
        thresholding: (quantile, largest value) of dynamic thresholding, or None.
        strides: whether a step goes to t - num_train_timesteps // steps rather than to the next timestep.
    """

    name: str
    alphas_cumprod: Tensor
    timesteps: Tensor
    prediction_type: str
    clip: float | None
    thresholding: tuple[float, float] | None
    strides: bool

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def previous(self, timesteps: Tensor) -> Tensor:
        """Where the step at each timestep leads, [N]; at least 0, so that the last step keeps a density."""
        if self.strides:
            return (timesteps - len(self.alphas_cumprod) // self.steps).clamp_min(0)
        following = torch.cat([self.timesteps[1:], self.timesteps.new_zeros(1)])
        return following[(self.timesteps == timesteps.unsqueeze(-1)).long().argmax(-1)]


def noise_schedule(config: Mapping[str, Any], steps: int) -> NoiseSchedule:
    """The schedule that a scheduler's configuration describes.

    Args:
        config: what scheduler_config.json holds; without `_class_name`, a DDIMScheduler's.
        steps: of a trajectory.
    Raises:
        UnusableSchedule: where the class or a setting stands for something else.
    """
    name, solver = solver_of(config)
    refuse_wrong_numbers(name, config, NUMBERS)
    count = config.get("num_train_timesteps", 1000)
    betas = betas_of(config, solver, count)
    if solver.rescales and config.get("rescale_betas_zero_snr"):
        betas = rescale_to_zero_snr(betas)
    timesteps = timesteps_of(config, solver, count, steps)
    return described(name, solver, config, torch.cumprod(1.0 - betas, dim=0), timesteps)


def schedule_of(scheduler: SchedulerMixin) -> NoiseSchedule:
    """The schedule of a scheduler object with `set_timesteps` done, at the precision of its own alphas."""
    config = {**scheduler.config, "_class_name": type(scheduler).__name__}
    name, solver = solver_of(config)
    steps = int(scheduler.num_inference_steps or 0)
    timesteps = timesteps_of(config, solver, scheduler.config.num_train_timesteps, steps)
    return described(name, solver, config, scheduler.alphas_cumprod.cpu(), timesteps)


def described(name: str, solver: Solver, config: Mapping[str, Any], alphas: Tensor, timesteps: Tensor) -> NoiseSchedule:
    """A schedule of these alphas and timesteps; classes that divide by the last alpha write 2^-24 where it is 0."""
    rescaled = bool(solver.rescales and config.get("rescale_betas_zero_snr"))
    if rescaled:
        alphas = torch.cat([alphas[:-1], alphas.new_zeros(1)])
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTION_TYPES:
        raise refused(name, f"prediction_type: {prediction!r} is not one of {', '.join(PREDICTION_TYPES)}.")
    clips = solver.clip_sample is not None and config.get("clip_sample", solver.clip_sample)
    thresholds = solver.thresholding and config.get("thresholding", False)
    limits = config.get("dynamic_thresholding_ratio", 0.995), config.get("sample_max_value", 1.0)
    return NoiseSchedule(
        name=name,
        alphas_cumprod=alphas,
        timesteps=timesteps,
        prediction_type=prediction,
        clip=config.get("clip_sample_range", 1.0) if clips else None,
        thresholding=limits if thresholds else None,
        strides=solver.strides,
    )


def betas_of(config: Mapping[str, Any], solver: Solver, count: int) -> Tensor:
    """[count] float32."""
    start, end = config.get("beta_start", solver.beta_start), config.get("beta_end", solver.beta_end)
    name, trained = config.get("beta_schedule", solver.beta_schedule), config.get("trained_betas")
    if trained is not None:
        if not isinstance(trained, (list, tuple, np.ndarray)) or len(trained) != count:
            raise refused(class_name(config), f"trained_betas: must hold {count} betas, one a timestep.")
        return torch.tensor(trained, dtype=torch.float32)
    if name not in solver.beta_schedules:
        raise refused(class_name(config), unknown("beta_schedule", name, solver.beta_schedules))
    if name == "linear":
        return torch.linspace(start, end, count, dtype=torch.float32)
    if name == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2
    if name == "sigmoid":
        return torch.sigmoid(torch.linspace(-6, 6, count)) * (end - start) + start
    alpha_bar = ALPHA_BARS[name]
    pairs = ((alpha_bar(i / count), alpha_bar((i + 1) / count)) for i in range(count))
    return torch.tensor([min(1 - after / before, LARGEST_BETA) for before, after in pairs], dtype=torch.float32)


def cosine(t: float) -> float:
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def laplace(t: float) -> float:
    snr = math.exp(-0.5 * math.copysign(1, 0.5 - t) * math.log(1 - 2 * math.fabs(0.5 - t) + 1e-6))
    return math.sqrt(snr / (1 + snr))


def exponential(t: float) -> float:
    return math.exp(t * -12.0)


ALPHA_BARS: dict[str, Callable[[float], float]] = {
    "squaredcos_cap_v2": cosine,
    "laplace": laplace,
    "exp": exponential,
}


def rescale_to_zero_snr(betas: Tensor) -> Tensor:
    """Betas whose last alpha_bar is 0 and whose first is as it was (Lin et al. 2024, algorithm 1)."""
    roots = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * (first / (first - last))
    products = roots**2
    return 1 - torch.cat([products[:1], products[1:] / products[:-1]])


def timesteps_of(config: Mapping[str, Any], solver: Solver, count: int, steps: int) -> Tensor:
    """[steps], descending (Lin et al. 2024, table 2)."""
    if not 1 <= steps <= count:
        raise UnusableSchedule(f"sampler.steps: must lie in 1..{count}, the model's num_train_timesteps, got {steps}.")
    own = solver.timestep_spacing
    spacing = config.get("timestep_spacing", own) if own else "linspace"
    offset = config.get("steps_offset", 0) if own else 0
    points = steps + solver.stops_early
    if spacing == "linspace":
        times = np.linspace(0, count - 1, points).round()[::-1]
    elif spacing == "leading":
        times = (np.arange(points) * (count // points))[::-1] + offset
    elif spacing == "trailing":
        times = np.arange(count, 0, -count / steps).round() - 1
    else:
        raise refused(class_name(config), unknown("timestep_spacing", spacing, SPACINGS))
    if times[0] >= count:
        begins = f"{steps} steps with steps_offset: {offset} would begin at timestep {times[0]:.0f}"
        raise UnusableSchedule(f"sampler.steps: {begins}; the model's last is {count - 1}. Use fewer steps.")
    times = times[:steps].astype(np.int64)
    if (np.diff(times) >= 0).any():
        raise UnusableSchedule(
            f"sampler.steps: {steps} different timesteps cannot be spaced as {spacing} in {count}. Use fewer steps."
        )
    return torch.from_numpy(times)
