"""The header of a report: the machine, the versions and the command of the measurements."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata

import torch
from ddpo_kernels.backend import TRITON_INSTALLED


def describe(device: torch.device, processor: str, commit: str | None, command: str) -> dict[str, str]:
    """The header as names and values, in the order of display.

    Args:
        device: the device that was measured.
        processor: the name of the CPU.
        commit: the commit of the checkout; None outside one.
        command: the command line.
    """
    triton = metadata.version("triton") if TRITON_INSTALLED else "not installed"
    on_gpu = device.type == "cuda"
    return {
        "device": gpu(device) if on_gpu else cpu(processor),
        **({"driver": driver()} if on_gpu else {}),
        "torch": f"{torch.__version__}, {toolkit()}" if on_gpu else torch.__version__,
        "triton": triton,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "commit": commit or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
    }


def cpu(processor: str) -> str:
    load = f", load average {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    return f"{processor}, {torch.get_num_threads()} of {os.cpu_count()} CPUs{load}"


def gpu(device: torch.device) -> str:
    properties = torch.cuda.get_device_properties(device)
    cache, memory = properties.L2_cache_size / 2**20, properties.total_memory / 2**30
    return f"{properties.name}, {memory:.0f} GiB, {cache:.0f} MiB of L2 cache"


def toolkit() -> str:
    return f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"


def driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.partition("\n")[0] or "unknown"
