"""One run of the micro-benchmarks, from the plan to the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ddpo_bench.analysis.tables import Table
from ddpo_bench.microbench.cases import Case
from ddpo_bench.microbench.measure import Measurements, count, measure
from ddpo_bench.microbench.progress import progress
from ddpo_bench.microbench.report import frame_table, save, screen_table
from ddpo_bench.microbench.training_step import TrainingStep, measure_training_steps


def run(
    plan: Sequence[Case], device: torch.device, machine: dict[str, str], folder: Path, say: Callable[[str], None]
) -> list[Table]:
    """Measure a plan and save it; returns what is to be shown.

    What was measured until an interruption or an error is saved too.

    Args:
        machine: the report's header, of `machine.describe`.
        say: prints a line of progress where there is no terminal.
    """
    measurements, steps = Measurements.on(device), list[TrainingStep]()
    try:
        with progress(count(plan, device), say) as advance:
            measure(plan, measurements, advance)
            if any(case.operation == "learning_step" for case in plan):
                measure_training_steps(measurements, steps, advance)
    finally:
        if measurements.rows:
            save(measurements, steps, machine, folder)
            say(f"Saved {folder / 'kernels.md'} and kernels.csv")
    return [screen_table(measurements), *([frame_table(steps)] if steps else [])]
