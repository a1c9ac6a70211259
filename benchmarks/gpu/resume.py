"""A run that is killed with SIGKILL and resumed, compared row by row with one that nothing stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.part import ROOT

TIMED = ("seconds_", "images_per_second", "memory_peak_mb")
SIZES = {"cuda": ("--epochs", "4", "--samples", "16"), "cpu": ("--epochs", "2", "--samples", "2")}
DIE_AT_ROW = {"cuda": 4, "cpu": 2}  # the first row is that of epoch 0


def compare(device: str, folder: Path) -> dict[str, Any]:
    """Train as configured by default and with torch's deterministic algorithms, each with and without a kill, at once.

    Returns:
        For "default" and "deterministic": rows compared, and the first difference or None.
    """
    ways: dict[str, list[str]] = {"default": [], "deterministic": ["--deterministic"]}
    if device == "cpu":
        del ways["deterministic"]  # so is the default
    with ThreadPoolExecutor() as threads:
        started = {way: threads.submit(train_both, device, folder / way, options) for way, options in ways.items()}
        return {way: made.result() for way, made in started.items()}


def train_both(device: str, folder: Path, options: list[str]) -> dict[str, Any]:
    with ThreadPoolExecutor() as threads:
        unbroken = threads.submit(one_run, device, folder / "unbroken", options)
        killed = one_run(device, folder / "killed", [*options, "--die-at-row", str(DIE_AT_ROW[device])])
        if killed != -signal.SIGKILL:
            return {"rows": 0, "difference": f"the run to be killed ended with {killed}"}
        codes = one_run(device, folder / "killed", options), unbroken.result()
    if any(codes):
        return {"rows": 0, "difference": f"the resumed run ended with {codes[0]}, the other with {codes[1]}"}
    return difference(numbers(folder / "killed"), numbers(folder / "unbroken"))


def one_run(device: str, folder: Path, options: list[str]) -> int:
    command = [sys.executable, "-m", "benchmarks.gpu.one_run", str(folder), *SIZES[device], *options]
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what the clock and the memory decide."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith(TIMED)} for line in lines]


def difference(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> dict[str, Any]:
    """The number of rows, and where the first difference is.

    Compared as text, in which NaN is equal to itself and a float is all its bits.
    """
    if len(found) != len(expected):
        return {"rows": len(found), "difference": f"{len(found)} rows, not {len(expected)}"}
    for row, (one, other) in enumerate(zip(found, expected, strict=True)):
        for key in one | other:
            if json.dumps(one.get(key)) != json.dumps(other.get(key)):
                return {"rows": row, "difference": f"row {row}, {key}: {one.get(key)}, not {other.get(key)}"}
    return {"rows": len(found), "difference": None}
