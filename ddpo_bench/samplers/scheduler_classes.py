"""Which noise process a scheduler's configuration stands for: diffusion with betas, flow matching or something else.

A class of diffusers that solves x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with discrete betas is a `Solver`, with the
defaults that its own signature has.  Every other class is named with what it is, so that its model is refused as that.
tests/samplers/test_noise_schedule.py holds both tables against the installed diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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
        raise refused(
            name,
            f"is {process}, not of a diffusion process with betas. Choose a sampler for it (see ddpo-bench list) or "
            "another model.",
        )
    if name not in SOLVERS:
        raise refused(name, unknown("scheduler class", name, SOLVERS))
    for key, neutral in NEUTRAL.items():
        if config.get(key) not in neutral:
            raise refused(name, f"{key}: {config[key]!r} is not supported. Set it to {neutral[0]!r}.")
    if str(config.get("variance_type")).startswith("learned"):
        variance = config["variance_type"]
        raise refused(name, f"variance_type: {variance!r}: models that predict variances are not supported.")
    return name, SOLVERS[name]


def class_name(config: Mapping[str, Any]) -> str:
    return str(config.get("_class_name", "DDIMScheduler"))


def refused(name: str, why: str) -> UnusableSchedule:
    return UnusableSchedule(f"policy.model: scheduler/scheduler_config.json: {name}: {why}")
