"""Which noise process a scheduler's configuration stands for: diffusion with betas, flow matching or something else.

Samplers of a process make their own law of its noise levels, whichever of its classes a model's folder names.

A class of diffusers that solves x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with discrete betas is a `Solver`, with the
defaults that its own signature has.  Every other class is named with what it is, so that its model is refused as that.
tests/samplers/test_noise_schedule.py holds both tables against the installed diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from typing import Any

from ddpo_bench.options import Bounds
from ddpo_bench.registry import unknown

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "trailing", "linspace")


@dataclass(frozen=True)
class Solver:
    """How a class reads its configuration; keys that it lacks are None and mean nothing to it.

    Attributes:
        beta_start, beta_end, beta_schedule, timestep_spacing: defaults.
        beta_schedules: what beta_schedule may be.
        clip_sample: default; None where predictions of x_0 are never clipped.
        thresholding: whether the class has dynamic thresholding.
        rescales: whether the class has rescale_betas_zero_snr.
        strides: whether a step goes to t - num_train_timesteps // steps rather than to the next timestep.
        stops_early: whether the timesteps are all but the last of one more step.
    """

    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    beta_schedules: tuple[str, ...] = BETA_SCHEDULES
    timestep_spacing: str | None = "linspace"
    clip_sample: bool | None = None
    thresholding: bool = False
    rescales: bool = False
    strides: bool = False
    stops_early: bool = False


DDIM = Solver(timestep_spacing="leading", clip_sample=True, thresholding=True, rescales=True, strides=True)
DDPM = replace(DDIM, beta_schedules=(*BETA_SCHEDULES, "sigmoid", "laplace"))
EULER = Solver(rescales=True)
KARRAS = Solver(beta_start=0.00085, beta_end=0.012)
MULTISTEP = Solver(thresholding=True, stops_early=True)

SOLVERS = {
    "DDIMScheduler": DDIM,
    "DDIMParallelScheduler": DDIM,
    "DDPMScheduler": DDPM,
    "DDPMParallelScheduler": DDPM,
    "PNDMScheduler": Solver(timestep_spacing="leading", strides=True),
    "EulerDiscreteScheduler": EULER,
    "EulerAncestralDiscreteScheduler": EULER,
    "LMSDiscreteScheduler": Solver(),
    "HeunDiscreteScheduler": replace(KARRAS, beta_schedules=(*BETA_SCHEDULES, "exp"), clip_sample=False),
    "KDPM2DiscreteScheduler": KARRAS,
    "KDPM2AncestralDiscreteScheduler": KARRAS,
    "DPMSolverSDEScheduler": KARRAS,
    "DPMSolverMultistepScheduler": replace(MULTISTEP, rescales=True),
    "UniPCMultistepScheduler": replace(MULTISTEP, rescales=True),
    "DEISMultistepScheduler": MULTISTEP,
    "SASolverScheduler": MULTISTEP,
    "DPMSolverSinglestepScheduler": replace(MULTISTEP, timestep_spacing=None),
}

FLOW = "of flow matching"
CONSISTENCY = "of a consistency model, which jumps to x_0"
SIGMAS = "of a process in continuous sigmas"
TOKENS = "of discrete tokens"
OTHERS = {
    **dict.fromkeys(
        (
            "FlowMapEulerDiscreteScheduler",
            "FlowMatchEulerDiscreteScheduler",
            "FlowMatchHeunDiscreteScheduler",
            "FlowMatchLCMScheduler",
            "HeliosDMDScheduler",
            "HeliosScheduler",
            "LTXEulerAncestralRFScheduler",
            "MiniMaxH3Scheduler",
            "PiflowScheduler",
            "RFD4ProteinaScheduler",
        ),
        FLOW,
    ),
    **dict.fromkeys(
        (
            "CMStochasticIterativeScheduler",
            "ConsistencyDecoderScheduler",
            "LCMScheduler",
            "SCMScheduler",
            "TCDScheduler",
        ),
        CONSISTENCY,
    ),
    **dict.fromkeys(
        (
            "CosineDPMSolverMultistepScheduler",
            "DDPMWuerstchenScheduler",
            "EDMDPMSolverMultistepScheduler",
            "EDMEulerScheduler",
            "IPNDMScheduler",
            "KarrasVeScheduler",
            "ScoreSdeVeScheduler",
            "ScoreSdeVpScheduler",
        ),
        SIGMAS,
    ),
    **dict.fromkeys(
        (
            "AmusedScheduler",
            "BlockRefinementScheduler",
            "DiscreteDDIMScheduler",
            "EntropyBoundScheduler",
            "VQDiffusionScheduler",
        ),
        TOKENS,
    ),
    "CogVideoXDDIMScheduler": "of a video model",
    "CogVideoXDPMScheduler": "of a video model",
    "DDIMInverseScheduler": "of inversion, from an image back to noise",
    "DPMSolverMultistepInverseScheduler": "of inversion, from an image back to noise",
    "RePaintScheduler": "of inpainting",
    "UnCLIPScheduler": "of unCLIP, whose variances are its own",
}

# Keys that place the timesteps, or the process, elsewhere than betas and timestep_spacing say; any other value than
# those given here is refused.
NEUTRAL = {
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "timestep_type": ("discrete", None),
    "interpolation_type": ("linear", None),
    "lambda_min_clipped": (-float("inf"), None),
}
NEUTRAL_IN_FLOW = {
    **dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"), (False, None)),
    "invert_sigmas": (False, None),
    "stochastic_sampling": (False, None),
}
NEUTRAL_IN_SOLVERS = {
    **NEUTRAL,
    "use_dynamic_shifting": (False, None),
    "shift_terminal": (None,),
    "final_sigmas_type": ("zero", None),
    "prediction_type": ("flow_prediction",),
    "thresholding": (False, None),
}
FLOW_CLASSES = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
FLOW_SOLVERS = ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler")  # of both
FLOW_SAMPLERS = "flow_sde, dance_sde, cps, ode or dpm2"


class UnusableSchedule(ValueError):
    """A scheduler of another process than the sampler's, or settings that it cannot sample; names the key to change."""


def process_of(config: Mapping[str, Any]) -> str | None:
    """What another process than diffusion with betas is, as in "of flow matching"; None where it is that.

    Solvers of diffusion serve flow matching too, where their settings say so.
    """
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return FLOW
    return OTHERS.get(class_name(config))


def solver_of(config: Mapping[str, Any]) -> tuple[str, Solver]:
    """The class of a diffusion scheduler, and how it reads its configuration.

    Raises:
        UnusableSchedule: where the process is another one, or a setting moves the timesteps.
    """
    name = class_name(config)
    if process := process_of(config):
        remedy = f"Set sampler.name to {FLOW_SAMPLERS}" if process == FLOW else "Choose another model"
        raise refused(name, f"is {process}, not of a diffusion process with betas. {remedy}.")
    if name not in SOLVERS:
        raise refused(name, unknown("scheduler class", name, SOLVERS))
    refuse_moved(name, config, NEUTRAL)
    if str(config.get("variance_type")).startswith("learned"):
        variance = config["variance_type"]
        raise refused(name, f"variance_type: {variance!r}: models that predict variances are not supported.")
    return name, SOLVERS[name]


def flow_class_of(config: Mapping[str, Any]) -> str:
    """The class of a flow-matching scheduler whose noise levels are known.

    Raises:
        UnusableSchedule: where the process is another one, or a setting moves the noise levels.
    """
    name, process = class_name(config), process_of(config)
    if process != FLOW:
        if process is None and name not in SOLVERS:
            raise refused(name, unknown("scheduler class", name, (*SOLVERS, *FLOW_CLASSES)))
        if process:
            raise refused(name, f"is {process}, not of flow matching. Choose another model.")
        raise refused(name, "is of a diffusion process with betas, not of flow matching. Set sampler.name to ddim.")
    solves = config.get("use_flow_sigmas") and name in FLOW_SOLVERS
    if not solves and name not in FLOW_CLASSES:
        others = " or ".join(FLOW_CLASSES)
        raise refused(name, f"the noise levels that it samples at are its own. Choose a model with {others}.")
    refuse_moved(name, config, NEUTRAL_IN_SOLVERS if solves else NEUTRAL_IN_FLOW)
    return name


def refuse_moved(name: str, config: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]) -> None:
    for key, values in neutral.items():
        if config.get(key) not in values:
            raise refused(name, f"{key}: {config.get(key)!r} is not supported. Set it to {values[0]!r}.")


def refuse_wrong_numbers(name: str, config: Mapping[str, Any], numbers: Mapping[str, tuple[Any, Bounds]]) -> None:
    """Args:
    numbers: keys, the types and the range that each may have.
    """
    for key, (kinds, bounds) in numbers.items():
        value = config.get(key, MISSING)
        if value is MISSING:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool):
            whole = "a whole number" if kinds is int else "a number"
            raise refused(name, f"{key}: expected {whole}, got {value!r}.")
        if mistake := bounds.mistake(value):
            raise refused(name, f"{key}: {mistake}")


def class_name(config: Mapping[str, Any]) -> str:
    return str(config.get("_class_name", "DDIMScheduler"))


def refused(name: str, why: str) -> UnusableSchedule:
    return UnusableSchedule(f"policy.model: scheduler/scheduler_config.json: {name}: {why}")
