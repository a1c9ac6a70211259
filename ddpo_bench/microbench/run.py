"""One run of the micro-benchmarks, from the cases to the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ddpo_bench.analysis.tables import Table
from ddpo_bench.microbench.cases import Case
from ddpo_bench.microbench.measure import Measurements, count, measure
from ddpo_bench.microbench.progress import progress
from ddpo_bench.microbench.report import save, screen_table, training_step_table
from ddpo_bench.microbench.training_step import TrainingStep, measure_training_steps


def run(
    cases: Sequence[Case], device: torch.device, machine: dict[str, str], folder: Path, say: Callable[[str], None]
) -> list[Table]:
    """Measure the cases, save the results, and return the tables to show.

    After an interruption or an error, what was measured before it is saved too.

    Args:
        cases: the cases to measure.
        device: where to measure them.
        machine: the header of the report, from `machine.describe`.
        folder: where to save the report.
        say: prints a line of progress where output is not a terminal.
    """
    measurements, steps = Measurements.on(device), list[TrainingStep]()
    try:
        with progress(count(cases, device), say) as advance:
            measure(cases, measurements, advance)
            if any(case.operation == "learning_step" for case in cases):
                measure_training_steps(measurements, steps, advance)
    finally:
        if measurements.rows:
            save(measurements, steps, machine, folder)
            say(f"Saved {folder / 'kernels.md'} and kernels.csv")
    return [screen_table(measurements), *([training_step_table(steps)] if steps else [])]
