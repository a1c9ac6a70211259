"""The fastest matrix product that this device reaches, which utilisation is measured against."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ddpo_bench.throughput.stopwatch import Stopwatch

SIDES = {"cpu": (256, 512, 1024), "cuda": (4096, 8192, 16384)}
WARM_UP, REPETITIONS = 2, 8


class Peak(NamedTuple):
    """FLOP/s of a square matrix product, and its side."""

    flops: float
    side: int


def matrix_product_peak(device: torch.device, dtype: torch.dtype) -> Peak:
    """The fastest of a few square matrix products."""
    return max(Peak(2 * side**3 / seconds_of_product(device, dtype, side), side) for side in SIDES[device.type])


def seconds_of_product(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The fastest of some repetitions."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    made = torch.empty_like(a)
    stopwatch = Stopwatch(device)
    for number in range(WARM_UP + REPETITIONS):
        with stopwatch.phase(str(number)):
            torch.mm(a, b, out=made)
    return min(list(stopwatch.seconds().values())[WARM_UP:])
