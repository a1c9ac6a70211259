"""Part b: the table of `ddpo-bench kernels` at the sizes of the targets, in the order of their value.

kernels.md and kernels.csv are saved again after each size.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.gpu import machine
from ddpo_bench.microbench.cases import OPERATIONS, Case
from ddpo_bench.microbench.measure import Measurements, measure
from ddpo_bench.microbench.report import save

WHOLE = tuple(OPERATIONS)
LAUNCHES = ("sample", "score", "backward")
SIZES: dict[str, list[tuple[str, int, str, tuple[str, ...]]]] = {  # latent, batch, dtype, operations
    "cuda": [
        ("sd15", 8, "bf16", WHOLE),
        ("flux", 256, "bf16", LAUNCHES),  # each moves more than 256 MB
        ("sd15", 256, "bf16", (*LAUNCHES, "learning_step")),
        ("sdxl", 8, "bf16", (*LAUNCHES, "learning_step")),
        ("sd15", 64, "bf16", (*LAUNCHES, "learning_step")),
    ],
    "cpu": [("embedded", 2, "fp32", ("score",))],
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    measurements = Measurements.on(torch.device(given.device))
    header = machine.describe(given.device) | {"command": "make gpu PARTS=b"}
    for latent, batch, dtype, operations in SIZES[given.device]:
        cases = [Case(operation, latent, batch, dtype) for operation in operations]
        measure(cases, measurements, lambda inputs, what: print(f"{inputs}: {what}", flush=True))
        save(measurements, [], header, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
