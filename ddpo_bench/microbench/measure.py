"""Measurement of cases, with every implementation that the device can run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby

import torch

from ddpo_bench.microbench.accuracy import error, exact_result
from ddpo_bench.microbench.calls import IMPLEMENTATIONS, Call, bind, not_measured
from ddpo_bench.microbench.cases import Case
from ddpo_bench.microbench.inputs import Inputs, make_sets
from ddpo_bench.microbench.timing import Timing, cache_bytes, copy_bandwidth, memory_bytes, time_calls, time_graph

COMPILED_ON_CPU = 8  # cases; compiling each takes seconds
Advance = Callable[[str, str], None]


class HostSynchronised(RuntimeError):
    """A Triton path waited for the device, or made it wait for the host."""


@dataclass(frozen=True)
class Measured:
    """The measurement of one case with one implementation.

    Attributes:
        timing: time of a call launched from Python.
        graph: time of a call in a CUDA graph; None on a CPU, and for the reference, which cannot be captured.
        error: the error, as of `accuracy.error`.
    """

    case: Case
    implementation: str
    timing: Timing
    graph: Timing | None
    error: float

    @property
    def device_seconds(self) -> float:
        """Median time in seconds, without launches where that was measured."""
        return (self.graph or self.timing).median

    @property
    def bandwidth(self) -> float:
        """Memory bandwidth in bytes per second."""
        return self.case.bytes / self.device_seconds


@dataclass
class Measurements:
    """All measurements so far.

    Attributes:
        device: the device that is measured.
        copy: bandwidth of a copy within the device's memory, in bytes per second.
        rows: the measurements.
        notes: what was not measured, and why.
        checked: number of Triton cases that ran without synchronising with the host.
    """

    device: torch.device
    copy: float
    rows: list[Measured] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: int = 0

    @classmethod
    def on(cls, device: torch.device) -> Measurements:
        reasons = {name: not_measured(name, device) for name in IMPLEMENTATIONS}
        notes = [f"{name.capitalize()} was not measured: {reason}." for name, reason in reasons.items() if reason]
        return cls(device, copy_bandwidth(device), notes=notes)

    def case(self, case: Case, implementations: Sequence[str], sets: Sequence[Inputs], advance: Advance) -> None:
        """Measure one case with several implementations, on the same inputs."""
        exact = () if case.operation == "sample" else exact_result(case.operation, sets[0])
        for implementation in implementations:
            advance(case.inputs, f"{case.operation}, {implementation}")
            try:
                self.rows.append(self.one(case, implementation, sets, exact))
            except torch.OutOfMemoryError:
                self.notes.append(f"{case}: {implementation} was not measured: out of memory.")

    def one(self, case: Case, implementation: str, sets: Sequence[Inputs], exact: tuple[torch.Tensor, ...]) -> Measured:
        calls = bind(implementation, case.operation, sets)
        off = error(case.operation, calls[0](), exact, sets[0])
        timing, graph = time_calls(calls, self.device), None
        if self.device.type == "cuda" and implementation != "reference":
            graph = time_graph(calls, self.device)
        if self.device.type == "cuda" and implementation == "triton":
            refuse_synchronisation(case, calls[0])
            self.checked += 1
        return Measured(case, implementation, timing, graph, off)


def measure(cases: Sequence[Case], measurements: Measurements, advance: Advance) -> None:
    """Measure the cases, and add the results to `measurements`.

    Args:
        cases: the cases, those with the same inputs next to each other.
        measurements: where results and notes are added.
        advance: called with the inputs, and with the operation and implementation, before each measurement.
    Raises:
        HostSynchronised: where a Triton path synchronises with the host.
    """
    device = measurements.device
    compiled = compiled_cases(cases, device)
    if len(compiled) < len(cases):
        measurements.notes.append(
            f"Compile was measured in {len(compiled)} of {len(cases)} cases, because compiling takes seconds on a CPU; "
            f"it is measured in all if there are at most {COMPILED_ON_CPU}."
        )
    with own_stream(device):
        for _, alike in groupby(cases, key=lambda case: case.inputs):
            measure_alike(list(alike), compiled, measurements, advance)


def measure_alike(
    cases: Sequence[Case], compiled: Sequence[Case], measurements: Measurements, advance: Advance
) -> None:
    """Measure cases that share their inputs, and free the inputs at the end."""
    device = measurements.device
    try:
        sets = make_sets(cases[0], device, cache_bytes(device), memory_bytes(device))
    except torch.OutOfMemoryError:
        measurements.notes.append(f"{cases[0].inputs}: not measured: out of memory.")
        return
    for case in cases:
        measurements.case(case, implementations_of(case, compiled, device), sets, advance)


def count(cases: Sequence[Case], device: torch.device) -> int:
    """The number of measurements that these cases take."""
    compiled = compiled_cases(cases, device)
    return sum(len(implementations_of(case, compiled, device)) for case in cases)


def implementations_of(case: Case, compiled: Sequence[Case], device: torch.device) -> list[str]:
    able = [name for name in IMPLEMENTATIONS if not not_measured(name, device)]
    return [name for name in able if name != "compile" or case in compiled]


def compiled_cases(cases: Sequence[Case], device: torch.device) -> list[Case]:
    """The cases to compile; of many on a CPU, those of the learning step at its largest batches."""
    if device.type != "cpu" or not_measured("compile", device) or len(cases) <= COMPILED_ON_CPU:
        return list(cases)
    operation = "learning_step" if any(case.operation == "learning_step" for case in cases) else cases[0].operation
    largest = {(case.latent, case.dtype): case for case in cases if case.operation == operation}
    return list(largest.values())[:COMPILED_ON_CPU]


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """A new stream, because graphs cannot be captured on the default one."""
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def refuse_synchronisation(case: Case, call: Call) -> None:
    """Run a call, after its warm-up, with every synchronisation with the host an error.

    Raises:
        HostSynchronised: if there is one.
    """
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        call()
    except RuntimeError as error:
        raise HostSynchronised(f"{case}: the Triton path synchronises with the host: {error}") from error
    finally:
        torch.cuda.set_sync_debug_mode(before)
