"""The memory in use at the peak, on any device, and errors that say that there is too little."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
RESET_PEAK = "5"  # written to clear_refs; proc(5)
ON_A_CPU = "can't allocate memory"  # of torch's RuntimeError


def reset_peak_memory(device: torch.device) -> None:
    """Start anew to look for a peak; a process that may not do that keeps its highest one on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text(RESET_PEAK, encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Bytes in use at the peak: of the accelerator's tensors, or resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        for line in (PROCESS / "status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and ON_A_CPU in str(error))
