"""What one check found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

CLIP_RANGE = 1e-4  # of the importance ratio, DDPO's and Flow-GRPO's

Status = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Verdict:
    """The verdict of one check.

    Attributes:
        status: pass, fail or not applicable.
        says: a sentence.
        error: the size of the error, in what the sentence says; None where there is nothing to measure.
        outside_clip: share of importance ratios outside 1 +- 1e-4 by this error alone, at the latent size of SD1.5.
        name: of the check.
    """

    status: Status
    says: str
    error: float | None = None
    outside_clip: float | None = None
    name: str = ""

    @property
    def failed(self) -> bool:
        return self.status == "fail"

    def __str__(self) -> str:
        return f"{self.name}: {self.status}: {self.says}"

    def as_json(self) -> dict[str, Any]:
        """Plain values; an error without bound is null, as JSON knows no infinity."""
        error = self.error if self.error is not None and math.isfinite(self.error) else None
        return {
            "check": self.name,
            "status": self.status,
            "error": error,
            "outside_clip": self.outside_clip,
            "says": self.says,
        }


def passed_if(holds: bool) -> Status:
    return "pass" if holds else "fail"


def largest(errors: Tensor) -> float:
    """The largest absolute error; infinity where any is NaN."""
    size = float(errors.detach().abs().max())
    return size if math.isfinite(size) else math.inf


def outside_clip(log_ratios: Tensor) -> float:
    """Share of the ratios whose logarithms are these that lie outside the clip range; NaN lies outside."""
    inside = log_ratios.detach().double().expm1().abs() <= CLIP_RANGE
    return float((~inside).double().mean())
