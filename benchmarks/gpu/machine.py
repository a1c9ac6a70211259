"""The machine that is measured, as a line of JSON: device, driver, versions, commit; null without such a device.

python -m benchmarks.gpu.machine --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime

import torch

from ddpo_bench.microbench.machine import driver
from ddpo_bench.training.provenance import git_commit, installed_version, processor_name

PACKAGES = ("torch", "triton", "diffusers", "transformers", "peft", "optuna")


def describe(device: str) -> dict[str, str]:
    """Names and values, in the order of display."""
    found = {"device": gpu() if device == "cuda" else f"CPU, {processor_name()}, {os.cpu_count()} cores"}
    if device == "cuda":
        found["driver"] = driver()
    found["versions"] = ", ".join(f"{name} {installed_version(name) or 'not installed'}" for name in PACKAGES)
    found["python"] = platform.python_version()
    found["commit"] = git_commit() or "unknown"
    found["date"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return found


def gpu() -> str:
    properties = torch.cuda.get_device_properties(0)
    toolkit = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {toolkit}, {os.cpu_count()} CPU cores"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    device = parser.parse_args().device
    print(json.dumps(describe(device) if device == "cpu" or torch.cuda.is_available() else None))
