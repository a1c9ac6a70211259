"""What the figures were measured on, with and by which command, for the header of a report."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata

import torch
from ddpo_kernels.backend import TRITON_INSTALLED


def describe(device: torch.device, processor: str, commit: str | None, command: str) -> dict[str, str]:
    """Names and values, in the order in which they are shown.

    Args:
        processor: the CPU's name.
        commit: of the checkout, or None outside one.
    """
    triton = metadata.version("triton") if TRITON_INSTALLED else "not installed"
    on_gpu = device.type == "cuda"
    return {
        "device": gpu(device) if on_gpu else cpu(processor),
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
