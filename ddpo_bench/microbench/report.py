"""Measurements as tables: on screen, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ddpo_bench.analysis.tables import Column, Row, Table, Value
from ddpo_bench.files import write_text
from ddpo_bench.microbench.calls import IMPLEMENTATIONS
from ddpo_bench.microbench.cases import OPERATIONS
from ddpo_bench.microbench.measure import Measured, Measurements
from ddpo_bench.microbench.training_step import TrainingStep

KEYS = [Column(key, key, part=None) for key in ("operation", "implementation", "latent", "batch", "dtype")]
MEASURED = [
    Column("us", "time", "µs"),
    Column("p20", "p20", "µs"),
    Column("p80", "p80", "µs"),
    Column("graph_us", "graph", "µs"),
    Column("gb_per_s", "GB/s"),
    Column("share_of_copy", "of copy"),
    Column("speed_up", "speed-up"),
    Column("error", "error"),
]
TITLE = "Kernel micro-benchmarks"
NOTES = (
    "Time: the median of calls launched from Python, with the 20th and 80th percentiles. Graph: the time of a call in "
    "the replay of one CUDA graph, without launches from Python (not for the reference, which synchronises).",
    "GB/s: the least bytes that the fused operation must move, over the graph's time or, without one, the median. "
    "Speed-up: against eager, by medians.",
    "Error: against float64, the largest absolute error of log-prob and KL; for a gradient, relative to its largest "
    "element.",
    "Reference: eager torch in the order of DDPO's public implementation. Eager, compile, triton: the torch path of "
    "`ddpo_kernels`, that path under `torch.compile`, and its kernels.",
)


def values(row: Measured, measurements: Measurements) -> dict[str, float | None]:
    """The values of the columns of MEASURED for one measurement."""
    eager = [other for other in measurements.rows if other.case == row.case and other.implementation == "eager"]
    return {
        "us": row.timing.median * 1e6,
        "p20": row.timing.p20 * 1e6,
        "p80": row.timing.p80 * 1e6,
        "graph_us": row.graph.median * 1e6 if row.graph else None,
        "gb_per_s": row.bandwidth / 1e9,
        "share_of_copy": row.bandwidth / measurements.copy,
        "speed_up": eager[0].timing.median / row.timing.median if eager else None,
        "error": row.error,
    }


def keys(row: Measured) -> dict[str, Value]:
    case = row.case
    return {
        "operation": case.operation,
        "implementation": row.implementation,
        "latent": case.latent,
        "batch": case.batch,
        "dtype": case.dtype,
    }


def text(column: str, value: float | None) -> str | None:
    if value is None:
        return None
    if column == "error":
        return f"{value:.0e}"
    if column == "share_of_copy":
        return f"{100 * value:.1f} %" if value >= 5e-4 else "<0.1 %"
    return rounded(value)


def rounded(value: float) -> str:
    """A number with about three digits: 1234, 123, 12.3, 1.23, 0.12."""
    if value < 5e-3:
        return "<0.01"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def texts(row: Measured, measurements: Measurements) -> dict[str, Value]:
    return {column: text(column, value) for column, value in values(row, measurements).items()}


def screen_table(measurements: Measurements) -> Table:
    """For the terminal: a line an operation and implementation, under their inputs."""
    rows, previous = [], None
    for row in measurements.rows:
        operation = "" if row.case == previous else row.case.operation
        label: dict[str, Value] = {"label": f"{operation:<14}{row.implementation}"}
        rows.append(Row(row.case.inputs, label | texts(row, measurements)))
        previous = row.case
    columns = [Column("label", "operation", part=None), *MEASURED]
    return Table(TITLE, columns, rows, "", tuple(notes(measurements)))


def case_table(measurements: Measurements) -> Table:
    """The table for Markdown, in which each row is complete in itself."""
    rows = [Row("", keys(row) | texts(row, measurements)) for row in measurements.rows]
    return Table(TITLE, [*KEYS, *MEASURED], rows, "", tuple(notes(measurements)))


def notes(measurements: Measurements) -> list[str]:
    """The bandwidth of a copy, explanations of the columns, and what was not measured."""
    ceiling = f"A copy within the device's memory runs at {measurements.copy / 1e9:.4g} GB/s (reads and writes)."
    synchronised = (
        f"Triton did not synchronise with the host in any of its {measurements.checked} cases (they were "
        "run with synchronisation as an error)."
    )
    return [ceiling, *([synchronised] if measurements.checked else []), *NOTES, *measurements.notes]


def training_step_table(steps: Sequence[TrainingStep]) -> Table:
    """The learning step compared with the forward and backward passes of the model."""
    measured = [
        name for name in IMPLEMENTATIONS if any(name == r.implementation for s in steps for r in s.learning_steps)
    ]
    columns = [
        Column("model", "model", part=None),
        Column("batch", "batch"),
        Column("unet", "fwd+bwd", "ms"),
        *(Column(name, name, "ms") for name in measured),
    ]
    rows = []
    for step in steps:
        values: dict[str, Value] = {"model": step.model, "batch": step.case.batch}
        values["unet"] = rounded(step.timing.median * 1e3)
        for row in step.learning_steps:
            share = row.timing.median / step.timing.median
            values[row.implementation] = f"{row.timing.median * 1e3:.3g} ({100 * share:.2g} %)"
        rows.append(Row(step.case.dtype, values))
    note = (
        "fwd+bwd: forward and backward passes of the model with guidance (twice the batch, gradients of all weights). "
        "In brackets: the learning step as a share of them, which is the most that a faster learning step can save."
    )
    return Table("The learning step as a part of the training step", columns, rows, "", (note,))


def traffic_table() -> str:
    """The least bytes that each operation must move, as Markdown."""
    lines = ["| operation | latents | fp32 means | bytes of scalars | |", "| :-- | --: | --: | --: | :-- |"]
    lines += [
        f"| {name} | {traffic.latents} | {traffic.means} | {traffic.scalars} | {traffic.what} |"
        for name, traffic in OPERATIONS.items()
    ]
    return "\n".join(lines)


def markdown(measurements: Measurements, steps: Sequence[TrainingStep], machine: dict[str, str]) -> str:
    title, _, body = case_table(measurements).to_markdown().partition("\n\n")
    header = "\n".join(f"* {name}: {f'`{value}`' if name == 'command' else value}" for name, value in machine.items())
    whole = [f"#{training_step_table(steps).to_markdown().strip()}"] if steps else []
    traffic = f"## Bytes counted for each sample\n\n{traffic_table()}"
    return "\n\n".join([title, header, *whole, "## Cases", body.strip(), traffic]) + "\n"


def comma_separated(measurements: Measurements) -> str:
    """The measurements as CSV; fields are empty where nothing was measured."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, [column.key for column in [*KEYS, *MEASURED]], lineterminator="\n")
    writer.writeheader()
    for row in measurements.rows:
        plain = {k: "" if v is None else f"{v:.6g}" for k, v in values(row, measurements).items()}
        writer.writerow(keys(row) | plain)
    return lines.getvalue()


def save(measurements: Measurements, steps: Sequence[TrainingStep], machine: dict[str, str], folder: Path) -> None:
    """Write kernels.md and kernels.csv."""
    write_text(folder / "kernels.md", markdown(measurements, steps, machine))
    write_text(folder / "kernels.csv", comma_separated(measurements))
