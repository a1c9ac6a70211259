"""Part a: the parity tests of the kernels on the device, and checks of whole steps of a policy.

Triton compiles some 350 specialisations for them, which is work of the CPU, so that the tests are shared among
processes; each begins with the most valuable ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.part import ROOT

CHECKS = ROOT / "benchmarks" / "gpu" / "checks"
PARITY = ROOT / "tests" / "kernels" / "parity"
TESTS = {
    "cuda": [
        f"test_{name}_parity.py"
        for name in ("bits", "noise", "step", "loss", "outputs", "reparameterised", "schedule", "operators")
    ],
    "cpu": ["test_bits_parity.py::test_the_kl_to_the_own_mean_is_exactly_zero"],  # interpreted, all take a minute
}
SHARES = 8  # processes, at most one for two cores


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    for old in given.out.glob("checks-*.jsonl"):
        old.unlink()
    shares = max(1, min(SHARES, (os.cpu_count() or 1) // 2)) if given.device == "cuda" else 1
    commands = [command(given.device, given.out, share, shares) for share in range(shares)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"TRITON_INTERPRET": "1"} if given.device == "cpu" else {})
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment) for command in commands]
    codes = [process.wait() for process in processes]
    return int(any(codes))


def command(device: str, out: Path, share: int, shares: int) -> list[str]:
    """A pytest that ignores the settings and fixtures of the project's own tests."""
    tests = [str(PARITY / name) for name in TESTS[device]]
    settings = ["-o", "addopts=", "-o", "filterwarnings=", f"--confcutdir={PARITY}", "-p", "no:cacheprovider"]
    ours = ["-p", "benchmarks.gpu.recorder", "--device", device, "--share", str(share), str(shares)]
    record = ["--record", str(out / f"checks-{share}.jsonl")]
    return [sys.executable, "-m", "pytest", "-q", "--tb=short", *settings, *ours, *record, str(CHECKS), *tests]


if __name__ == "__main__":
    sys.exit(main())
