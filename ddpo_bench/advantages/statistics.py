"""What all advantages share: rewards against a mean, in units of a standard deviation.

Rewards that are all equal have advantages of exactly 0, whatever rounding makes of their mean.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ddpo_bench.options import option

EPSILON = 1e-6  # added to every standard deviation


def mean_and_std(values: Tensor) -> tuple[float, float]:
    """Mean and population standard deviation; exact where all values are equal."""
    if values.min() == values.max():  # the mean of equal numbers may round to another, and noise would be learned
        return float(values[0]), 0.0
    return float(values.mean()), float(values.std(correction=0))


def clip_option() -> Any:
    return option(5.0, "largest absolute value of an advantage", above=0, maximum=1e6)
