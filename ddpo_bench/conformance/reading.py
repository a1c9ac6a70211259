"""What a function means by a log-prob: how it is reduced over latent dimensions, and which constants it leaves out.

Found once and taken as given by the other checks, so that a sum is one fault and not a fault of everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ddpo_bench.conformance.closed_forms import LOG_SQRT_2PI, ExactLaw
from ddpo_bench.conformance.step import DIMENSIONS, Step

CLOSE = 1e-3  # relative


@dataclass(frozen=True)
class Reading:
    """log_prob = scale (-1/2 mean z^2 + constants), with the scale and constants that go by these names.

    Attributes:
        reduction: mean, sum, unweighted (mean of -(x - mean)^2) or None where it is none of them.
        constants: all, no 2 pi, no std, none; or None where they are none of these.
    """

    reduction: str | None
    constants: str | None

    def scale(self, std: Tensor) -> Tensor:
        return scales(std)[self.reduction or "mean"]

    def expected(self, law: ExactLaw, prev_sample: Tensor) -> Tensor:
        """[B], float64: what a right function of this reading returns; prev_sample is not differentiated."""
        quadratic = -0.5 * law.squares(prev_sample)
        return self.scale(law.std) * (quadratic + constants(law.std)[self.constants or "all"])


def scales(std: Tensor) -> dict[str, Tensor]:
    return {"mean": torch.ones_like(std), "sum": torch.full_like(std, DIMENSIONS), "unweighted": 2 * std.square()}


def constants(std: Tensor) -> dict[str, Tensor]:
    log_std = std.log()
    none = torch.zeros_like(std)
    return {"all": -log_std - LOG_SQRT_2PI, "no 2 pi": -log_std, "no std": none - LOG_SQRT_2PI, "none": none}


@lru_cache(maxsize=1)
def read(step: Step) -> Reading:
    """Score at the mean and on both sides of it: the curvature gives the scale, and the height gives the constants."""
    inputs = step.inputs()
    law = step.law(inputs)
    z = torch.randn(inputs.sample.shape, generator=torch.Generator().manual_seed(3))
    low, middle, high = (
        step.score(inputs, law.at(k * z).float()).log_prob.detach().double().mean() for k in (-1, 0, 1)
    )
    squares = z.double().square().mean()
    scale, std = -(high - 2 * middle + low) / squares, law.std[:1]
    reduction = nearest(float(scale), {name: float(value) for name, value in scales(std).items()})
    if reduction is None:
        return Reading(None, None)
    heights = {name: float(value * scales(std)[reduction]) for name, value in constants(std).items()}
    return Reading(reduction, nearest(float(middle), heights, at_least=float(scales(std)[reduction])))


def nearest(value: float, named: dict[str, float], at_least: float = 0.0) -> str | None:
    """The name whose value is this one, within rounding; None where there is none.

    Args:
        at_least: differences are relative to the named value, or to this where it is larger.
    """
    if not math.isfinite(value):
        return None
    name = min(named, key=lambda name: abs(named[name] - value))
    return name if abs(named[name] - value) <= CLOSE * max(abs(named[name]), at_least) else None
