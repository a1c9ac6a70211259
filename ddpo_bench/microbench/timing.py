"""Timing of calls: medians and percentiles over repetitions that rotate among the inputs.

On a GPU, CUDA events time calls launched from Python and calls replayed as a CUDA graph; on a CPU, its clock does.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddpo_bench.microbench.calls import Call

CPU_SECONDS, CPU_REPETITIONS = 0.1, (5, 200)
GPU_SECONDS, GPU_REPETITIONS = 0.15, (20, 500)
WARM_UP = 3
COPIED = {"cpu": 2**28, "cuda": 2**30}  # bytes, far beyond the caches
CPU_CACHE = 32 * 2**20  # bytes, where the system does not say
CPU_MEMORY = 2**29  # bytes that input sets may fill


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the median, and the 20th and 80th percentiles."""

    median: float
    p20: float
    p80: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        p20, median, p80 = np.percentile(seconds, [20, 50, 80])
        return cls(float(median), float(p20), float(p80))


def time_calls(calls: Sequence[Call], device: torch.device) -> Timing:
    """Warm up, then time the calls in rotation."""
    rotating = itertools.cycle(calls)
    measure = on_gpu if device.type == "cuda" else on_cpu
    estimate = min(measure(rotating, WARM_UP))
    budget, (least, most) = (GPU_SECONDS, GPU_REPETITIONS) if device.type == "cuda" else (CPU_SECONDS, CPU_REPETITIONS)
    return Timing.of(measure(rotating, max(least, min(most, int(budget / estimate)))))


def on_cpu(rotating: Iterator[Call], repetitions: int) -> list[float]:
    seconds = []
    for _ in range(repetitions):
        call = next(rotating)
        start = time.perf_counter_ns()
        call()
        seconds.append((time.perf_counter_ns() - start) * 1e-9)
    return seconds


def on_gpu(rotating: Iterator[Call], repetitions: int) -> list[float]:
    """Time calls without waiting between them, as in training: the slower of launch and computation counts."""
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repetitions)]
    torch.cuda.synchronize()
    for start, end in events:
        call = next(rotating)
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) * 1e-3 for start, end in events]


def time_graph(calls: Sequence[Call], device: torch.device) -> Timing:
    """Time the calls in the replay of one CUDA graph that holds all of them, without launches from Python.

    The current stream must not be the default one, and the tensors of the calls must have been made on it.
    """
    for call in calls[:WARM_UP]:
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        for call in calls:
            call()

    def replay() -> tuple[torch.Tensor, ...]:
        graph.replay()
        return ()

    replayed = time_calls([replay], device)
    return Timing(*(seconds / len(calls) for seconds in (replayed.median, replayed.p20, replayed.p80)))


def copy_bandwidth(device: torch.device) -> float:
    """Bandwidth of a large copy within the device's memory: bytes read and written per second."""
    size = COPIED[device.type]
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / time_calls([lambda: (target.copy_(source),)], device).median


def cache_bytes(device: torch.device) -> int:
    """Size of the last-level cache in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    size = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    return int(size.read_text(encoding="utf-8").strip().removesuffix("K")) * 1024 if size.exists() else CPU_CACHE


def memory_bytes(device: torch.device) -> int:
    """Bytes that input sets may fill, which leaves room for intermediate results."""
    if device.type == "cpu":
        return CPU_MEMORY
    torch.cuda.empty_cache()  # memory that torch caches counts as used
    return torch.cuda.mem_get_info(device)[0] // 4


def synchronised(call: Call, device: torch.device) -> Callable[[], None]:
    """A call that returns only when the device has finished, for clocks of the host."""

    def run() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run
