"""Part c: `ddpo-bench throughput` at the size of Stable Diffusion 1.5, next to the plain loop.

In the order of their value, each measurement in a process of its own: eager, compiled, then other micro-batches.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.part import ROOT

CONFIG = "benchmarks/gpu/sd15.yaml"
SD15 = [CONFIG, "--architecture", "sd15"]
TINY = ("policy.model=embedded", "policy.precision=fp32", "sampler.steps=2", "samples_per_epoch=2")
MEASURED = {
    "cuda": {
        "eager": [*SD15, "--micro-batch", "8", "--compile", "none", "--seconds", "6"],
        "compiled": [*SD15, "--micro-batch", "8", "--compile", "regional", "--seconds", "5"],
        "sizes": [*SD15, "--micro-batch", "1,16", "--compile", "none", "--seconds", "3"],
        "compiled-sizes": [*SD15, "--micro-batch", "1,16", "--compile", "regional", "--seconds", "3"],
    },
    "cpu": {
        "embedded": [CONFIG, "--micro-batch", "2", "--seconds", "0.2", *(w for set in TINY for w in ("--set", set))],
    },
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    codes = []
    for name, options in MEASURED[given.device].items():
        print(f"-- {name}", flush=True)
        command = [sys.executable, "-m", "ddpo_bench", "throughput", *options, "--out", str(given.out / name)]
        codes.append(subprocess.run(command, cwd=ROOT).returncode)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
