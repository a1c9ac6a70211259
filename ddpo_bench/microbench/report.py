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
    "Times are medians of calls as they come, with their 20 and 80 % percentiles; graph is a call's share of the "
    "replay of one CUDA graph, without the cost of launching from Python (not for the reference, which synchronises).",
    "GB/s are the least bytes that the fused operation moves by the graph's time, or the median where there is none; "
    "speed-up is against eager, by medians.",
    "Error is against float64: the largest absolute one of log-prob and KL, or of a gradient relative to its largest "
    "element.",
    "Reference is eager torch in the order of DDPO's public implementation; eager, compile and triton are "
    "`ddpo_kernels` on its torch path, that path under `torch.compile`, and its kernels.",
)


def figures(row: Measured, measurements: Measurements) -> dict[str, float | None]:
    """All that is derived from a measurement, by column."""
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
    """About three digits as a plain number: 1234, 123, 12.3, 1.23, 0.12."""
    if value < 5e-3:
        return "<0.01"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def texts(row: Measured, measurements: Measurements) -> dict[str, Value]:
    return {column: text(column, value) for column, value in figures(row, measurements).items()}


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
    """For Markdown: each line says all that it is about."""
    rows = [Row("", keys(row) | texts(row, measurements)) for row in measurements.rows]
    return Table(TITLE, [*KEYS, *MEASURED], rows, "", tuple(notes(measurements)))


def notes(measurements: Measurements) -> list[str]:
    """The ceiling, the explanations, and what was left out."""
    ceiling = f"A copy within the device's memory runs at {measurements.copy / 1e9:.4g} GB/s (read and written)."
    synchronised = (
        f"Triton did not synchronise with the host in any of its {measurements.checked} cases (synchronising was an "
        "error there)."
    )
    return [ceiling, *([synchronised] if measurements.checked else []), *NOTES, *measurements.notes]


def frame_table(steps: Sequence[TrainingStep]) -> Table:
    """A learning step beside the model's forward and backward."""
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
        "fwd+bwd: the model's own forward and backward with guidance (twice the batch, gradients of all parameters). "
        "In brackets: the learning step as a share of it, which is all that a faster learning step can save."
    )
    return Table("A learning step beside the training step that it is part of", columns, rows, "", (note,))


def traffic_table() -> str:
    """Least bytes of each operation, as Markdown."""
    lines = ["| operation | latents | fp32 means | bytes of scalars | |", "| :-- | --: | --: | --: | :-- |"]
    lines += [
        f"| {name} | {traffic.latents} | {traffic.means} | {traffic.scalars} | {traffic.what} |"
        for name, traffic in OPERATIONS.items()
    ]
    return "\n".join(lines)


def markdown(measurements: Measurements, steps: Sequence[TrainingStep], machine: dict[str, str]) -> str:
    title, _, body = case_table(measurements).to_markdown().partition("\n\n")
    header = "\n".join(f"* {name}: {f'`{value}`' if name == 'command' else value}" for name, value in machine.items())
    frame = [f"#{frame_table(steps).to_markdown().strip()}"] if steps else []
    traffic = f"## Bytes counted for each sample\n\n{traffic_table()}"
    return "\n\n".join([title, header, *frame, "## Cases", body.strip(), traffic]) + "\n"


def comma_separated(measurements: Measurements) -> str:
    """Plain figures; empty where not measured."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, [column.key for column in [*KEYS, *MEASURED]], lineterminator="\n")
    writer.writeheader()
    for row in measurements.rows:
        plain = {k: "" if v is None else f"{v:.6g}" for k, v in figures(row, measurements).items()}
        writer.writerow(keys(row) | plain)
    return lines.getvalue()


def save(measurements: Measurements, steps: Sequence[TrainingStep], machine: dict[str, str], folder: Path) -> None:
    """Write kernels.md and kernels.csv."""
    write_text(folder / "kernels.md", markdown(measurements, steps, machine))
    write_text(folder / "kernels.csv", comma_separated(measurements))
