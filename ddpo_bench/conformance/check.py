"""The checks by name, and running them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ddpo_bench.conformance import batches, calls, density, gradients, rescoring
from ddpo_bench.conformance.conventions import CONVENTIONS, Convention, DoesNotFit, convention_of
from ddpo_bench.conformance.step import PLACES, Step
from ddpo_bench.conformance.verdict import Verdict
from ddpo_bench.registry import unknown
from ddpo_bench.reward_bases.user_code import told

Check = Callable[[Step], Verdict]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check(function: Callable[..., Any], convention: str | None = None, only: str | None = None) -> list[Verdict]:
    """Check a step function.

    Args:
        function: of one of the conventions.
        convention: ddim or flow (default: by the names of its arguments).
        only: the name of one check (default: all).
    Raises:
        DoesNotFit: where the function is of no convention, or there is no such check.
    """
    step = Step(function, convention_of(function, convention))
    checks = checks_of(step.convention)
    if only is not None and only not in checks:
        raise DoesNotFit(unknown("check", only, checks))
    return [verdict(step, name, made) for name, made in checks.items() if only in (None, name)]


def demand(function: Callable[..., Any], name: str, convention: str | None = None) -> None:
    """Run one check, in a test.

    Raises:
        AssertionError: with its sentence, where the function fails it.
        DoesNotFit: as `check`.
    """
    (found,) = check(function, convention, only=name)
    if found.failed:
        raise AssertionError(str(found))


def names(convention: str) -> list[str]:
    """The names of a convention's checks.

    Raises:
        DoesNotFit: for an unknown convention.
    """
    if convention not in CONVENTIONS:
        raise DoesNotFit(unknown("convention", convention, CONVENTIONS))
    return list(checks_of(CONVENTIONS[convention]))


def checks_of(convention: Convention) -> dict[str, Check]:
    """Every check of a convention, in the order of the table."""
    checks: dict[str, Check] = {
        f"log-prob, {prediction}, {place}": partial(density.log_prob, prediction=prediction, place=place)
        for prediction in convention.predictions
        for place in PLACES
    }
    if convention.returns_law:
        checks |= {f"mean, {place}": partial(density.mean, place=place) for place in PLACES}
        checks["std"] = density.std
    checks |= {"reduction": density.reduction, "constants": density.constants, "drawn samples": density.samples}
    checks |= {f"ratio, {rescoring.name(dtype)}": partial(rescoring.ratio, dtype=dtype) for dtype in DTYPES}
    return checks | {
        "batch invariance": batches.invariance,
        "mixed timesteps": batches.mixed_timesteps,
        "shared timestep": batches.shared_timestep,
        "gradient": gradients.model_output,
        "gradient through prev_sample": gradients.prev_sample,
        "prev_sample untouched": rescoring.untouched,
        "no noise": calls.no_noise,
        "determinism": calls.determinism,
        "synchronisations": calls.synchronisations,
    }


def verdict(step: Step, name: str, made: Check) -> Verdict:
    """The verdict of a check; what the function raises is one too."""
    try:
        found = made(step)
    except (Exception, SystemExit) as error:  # anybody's function may raise anything
        found = Verdict("fail", told(error))
    says = "is NaN or infinite" if found.error == math.inf else found.says
    return replace(found, name=name, says=says)
