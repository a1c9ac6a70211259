"""The share of a GPU that a run may fill, where several runs use one GPU."""

from __future__ import annotations

import os

VARIABLE = "DDPO_BENCH_GPU_SHARE"  # set for a suite's workers by --runs-per-gpu N, to 1/N


def gpu_share() -> float:
    """Of this process: above 0, up to 1, which it is where nothing says otherwise."""
    return float(os.environ.get(VARIABLE, 1.0))
