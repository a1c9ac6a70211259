"""The calling conventions of the public implementations, and which of them a function has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ddpo_bench.conformance.closed_forms import ExactLaw, ddim_law, flow_law
from ddpo_bench.registry import unknown

STEPS = 10


class DoesNotFit(ValueError):
    """A function whose signature is of no convention."""


@dataclass(frozen=True)
class Convention:
    """How a step function is called.

    Attributes:
        written: the call and what it returns.
        noise: the argument that scales the noise, 0 being none.
        level: the noise at which it is checked.
        predictions: what the model may predict.
        scheduler: makes diffusers' scheduler for a prediction, with `set_timesteps` done.
        law: the closed form, of (scheduler, model_output, timestep [B], sample, noise).
        returns_law: whether mean and std are returned after the log-prob.
        scalar_timestep: whether one timestep for a whole batch is a number, rather than a tensor of one entry.
    """

    name: str
    written: str
    noise: str
    level: float
    predictions: tuple[str, ...]
    scheduler: Callable[[str], Any]
    law: Callable[..., ExactLaw]
    returns_law: bool
    scalar_timestep: bool


def ddim_scheduler(prediction: str) -> Any:
    """Stable Diffusion 1.5's, in few steps."""
    from diffusers import DDIMScheduler  # takes seconds

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    scheduler.set_timesteps(STEPS)
    return scheduler


def flow_scheduler(prediction: str) -> Any:
    """Stable Diffusion 3's, in few steps."""
    from diffusers import FlowMatchEulerDiscreteScheduler  # takes seconds

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    return scheduler


CONVENTIONS = {
    "ddim": Convention(
        "ddim",
        "f(scheduler, model_output, timestep, sample, eta=..., prev_sample=...) -> (prev_sample, log_prob)",
        "eta",
        1.0,
        ("epsilon", "v_prediction", "sample"),
        ddim_scheduler,
        ddim_law,
        returns_law=False,
        scalar_timestep=True,
    ),
    "flow": Convention(
        "flow",
        "f(scheduler, model_output, timestep, sample, noise_level=..., prev_sample=...) "
        "-> (prev_sample, log_prob, mean, std)",
        "noise_level",
        0.7,
        ("velocity",),
        flow_scheduler,
        flow_law,
        returns_law=True,
        scalar_timestep=False,
    ),
}


def convention_of(function: Callable[..., Any], named: str | None = None) -> Convention:
    """The convention that a function has by the names of its arguments, or the named one.

    Raises:
        DoesNotFit: where it cannot be called so.
    """
    if named is not None and named not in CONVENTIONS:
        raise DoesNotFit(unknown("convention", named, CONVENTIONS))
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise DoesNotFit(f"{name_of(function)}: has no signature; wrap it in a function of one convention.") from None
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    fitting = [c for c in CONVENTIONS.values() if c.noise in parameters or (named and open_ended)]
    fitting = [c for c in fitting if named in (None, c.name) and fits(c, parameters, open_ended)]
    if len(fitting) != 1:
        which = [CONVENTIONS[named]] if named else list(CONVENTIONS.values())
        calls = "; ".join(f"{c.name}: {c.written}" for c in which)
        raise DoesNotFit(
            f"{name_of(function)}({', '.join(parameters)}) fits {'no' if named is None else 'not the'} convention. "
            f"Wrap it in a function that can be called as {calls}."
        )
    return fitting[0]


def fits(convention: Convention, parameters: Mapping[str, inspect.Parameter], open_ended: bool) -> bool:
    """Whether a function takes four positional arguments and the two named ones, and needs no others."""
    by_place = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:4]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    if not (several or len(by_place) == 4):
        return False
    catch_alls = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = {name for name, p in parameters.items() if p.default is p.empty and p.kind not in catch_alls}
    named = {convention.noise, "prev_sample"}
    if needed - {*by_place, convention.noise} or named & {*by_place}:
        return False
    return open_ended or named <= {*parameters}


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
