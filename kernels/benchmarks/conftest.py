"""One case of the micro-benchmarks under pytest-benchmark, with the inputs and implementations of `ddpo-bench kernels`.

pytest kernels/benchmarks --benchmark-only
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ddpo_bench.microbench.calls import bind, not_measured
from ddpo_bench.microbench.cases import Case
from ddpo_bench.microbench.inputs import make_sets
from ddpo_bench.microbench.timing import cache_bytes, memory_bytes, synchronised

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Compare = Callable[[Case, str], None]


@pytest.fixture
def compare(benchmark: BenchmarkFixture) -> Compare:
    """Times a case by an implementation, in the group of its case; skips what the device cannot run."""

    def run(case: Case, implementation: str) -> None:
        if reason := not_measured(implementation, DEVICE):
            pytest.skip(f"{implementation}: {reason}")
        sets = make_sets(case, DEVICE, cache_bytes(DEVICE), memory_bytes(DEVICE))
        rotating = itertools.cycle([synchronised(call, DEVICE) for call in bind(implementation, case.operation, sets)])
        next(rotating)()  # compiles
        benchmark.group = str(case)
        benchmark(lambda: next(rotating)())
        benchmark.extra_info["bytes"] = case.bytes
        if benchmark.stats is not None:  # with --benchmark-disable nothing is timed
            benchmark.extra_info["GB/s"] = case.bytes / benchmark.stats.stats.median / 1e9

    return run
