"""The noise levels of a flow-matching model, x_t = (1 - s) x_0 + s e, as its scheduler's class and pipeline place them.

The numbers are those of diffusers' classes bit for bit, without importing them, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddpo_bench.options import Bounds
from ddpo_bench.registry import unknown
from ddpo_bench.samplers.scheduler_classes import UnusableSchedule, flow_class_of, refuse_wrong_numbers, refused

NUMBER = (int, float)
NUMBERS: dict[str, tuple[Any, Bounds]] = {  # keys and what they may be
    "num_train_timesteps": (int, Bounds(minimum=1, maximum=10**6)),
    "shift": (NUMBER, Bounds(above=0)),
    "shift_terminal": (NUMBER, Bounds(minimum=0, below=1)),
    "flow_shift": (NUMBER, Bounds(above=0)),
    "base_shift": (NUMBER, Bounds()),
    "max_shift": (NUMBER, Bounds()),
    "base_image_seq_len": (int, Bounds(minimum=1)),
    "max_image_seq_len": (int, Bounds(minimum=1)),
    "image_seq_len": (int, Bounds(minimum=1)),
}
TIME_SHIFTS = ("exponential", "linear")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FlowSchedule:
    """Where a trajectory's steps begin and end.

    Attributes:
        sigmas: [steps + 1], s, float32, descending to 0.
        timesteps: [steps], float32: what the model is told, s * num_train_timesteps.
    """

    sigmas: Tensor
    timesteps: Tensor


def flow_schedule(config: Mapping[str, Any], steps: int) -> FlowSchedule:
    """The schedule that a scheduler's configuration describes.

    Args:
        config: what scheduler_config.json holds, and of the pipeline `pipeline_sigmas: true` where it passes
            linspace(1, 1 / steps, steps) to the scheduler, and `image_seq_len`, an image's tokens, where these decide
            the shift.
        steps: of a trajectory.
    Raises:
        UnusableSchedule: where the class or a setting stands for something else.
    """
    name, config = flow_class_of(config), {key: value for key, value in config.items() if value is not None}
    refuse_wrong_numbers(name, config, NUMBERS)
    count, solves = config.get("num_train_timesteps", 1000), config.get("use_flow_sigmas")
    if not 1 <= steps <= count:
        raise UnusableSchedule(f"sampler.steps: must lie in 1..{count}, the model's num_train_timesteps, got {steps}.")
    exact = solver_sigmas(name, config, steps) if solves else euler_sigmas(name, config, steps)
    sigmas = np.append(exact, 0).astype(np.float32)
    if not (np.diff(sigmas) < 0).all() or sigmas[0] > 1 + 1e-6:
        raise refused(name, f"its noise levels at {steps} steps do not descend from 1 to 0. Change its shift.")
    timesteps = np.trunc(exact * count) if solves else sigmas[:-1] * np.float32(count)  # a solver's are whole
    return FlowSchedule(torch.from_numpy(sigmas), torch.from_numpy(timesteps.astype(np.float32)))


def euler_sigmas(name: str, config: Mapping[str, Any], steps: int) -> Array:
    """[steps], of FlowMatchEulerDiscreteScheduler and FlowMatchHeunDiscreteScheduler, without the 0 at the end."""
    count, shift = config.get("num_train_timesteps", 1000), config.get("shift", 1.0)
    dynamic = config.get("use_dynamic_shifting", False)
    if config.get("pipeline_sigmas"):
        sigmas = np.linspace(1, 1 / steps, steps).astype(np.float32)
    else:
        last = np.float32(1) / np.float32(count)
        if not dynamic:  # the class shifts the range that it spaces its sigmas in, and then these sigmas once more
            last = shifted(last, shift)
        sigmas = np.linspace(count, last.item() * count, steps) / count
    sigmas = time_shifted(name, config, sigmas) if dynamic else shifted(sigmas, shift)
    terminal = config.get("shift_terminal")
    if terminal and steps > 1:  # a single one cannot begin at 1 and end there
        left = 1 - sigmas
        sigmas = 1 - left / (left[-1] / (1 - terminal))
    return sigmas


def shifted(sigmas: Any, shift: float) -> Any:
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def time_shifted(name: str, config: Mapping[str, Any], sigmas: Array) -> Array:
    """Shifted by mu, which grows with an image's tokens (Esser et al. 2024; `calculate_shift` of diffusers)."""
    kind = config.get("time_shift_type", "exponential")
    if kind not in TIME_SHIFTS:
        raise refused(name, unknown("time_shift_type", kind, TIME_SHIFTS))
    if "image_seq_len" not in config:
        raise refused(name, "use_dynamic_shifting needs image_seq_len, the tokens of an image, from the policy.")
    fewest, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    if fewest >= most:
        raise refused(name, f"max_image_seq_len: must be above base_image_seq_len ({fewest}), got {most}.")
    least, largest = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (largest - least) / (most - fewest)
    mu = config["image_seq_len"] * slope + (least - slope * fewest)
    factor = math.exp(mu) if kind == "exponential" else mu
    return factor / (factor + (1 / sigmas - 1))


def solver_sigmas(name: str, config: Mapping[str, Any], steps: int) -> Array:
    """[steps], of the multistep solvers of diffusion when they are set to flow matching, without the 0 at the end."""
    count, shift = config.get("num_train_timesteps", 1000), config.get("flow_shift", 1.0)
    levels = np.linspace(1, 1 / count, steps + 1)
    if name == "UniPCMultistepScheduler":
        sigmas = shifted(levels[:-1], shift)
        return np.where(np.abs(sigmas - 1) < 1e-6, sigmas - 1e-6, sigmas)
    return np.flip(shifted(1 - levels, shift))[:-1]
