"""Measurements as tables: on screen, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.tables import Column, Row, Table, Value
from ddpo_bench.files import write_text
from ddpo_bench.throughput.measured import PHASES, Measured
from ddpo_bench.throughput.picture import draw
from ddpo_bench.throughput.run import Measurements
from ddpo_bench.throughput.settings import PLAIN

KEYS = [Column(key, title, part=None) for key, title in (
    ("algorithm", "algorithm"), ("loop", "loop"), ("compile", "compile"), ("checkpointing", "checkpointing"),
    ("precision", "precision"), ("micro_batch", "micro-batch"),
)]  # fmt: skip
SPEED = [
    Column("sampling_images_per_second", "sampling", "images/s"),
    Column("learning_transitions_per_second", "learning", "transitions/s"),
    Column("images_per_second", "all phases", "images/s"),
    Column("speed_up", "to plain loop"),
    Column("sampling_mfu", "MFU sampling"),
    Column("learning_mfu", "MFU learning"),
    Column("memory_bytes", "peak memory", "GB"),
]
SECONDS = [Column(f"seconds_{phase}", phase, "ms") for phase in PHASES]
FLOPS = ("forward_flops", "backward_flops", "peak_flops")
TITLE = "Throughput"
NO_MEMORY = "out of memory"


def keys(row: Measured) -> dict[str, Value]:
    config = row.setting.config
    return {
        "algorithm": row.setting.label,
        "loop": row.setting.loop,
        "compile": config.compile,
        "checkpointing": "on" if config.gradient_checkpointing else "off",
        "precision": row.precision,
        "micro_batch": row.setting.micro_batch,
    }


def values(row: Measured, rows: Sequence[Measured]) -> dict[str, float | None]:
    """What was measured, in base units; None for what was not."""
    if not row.seconds:
        return dict.fromkeys([column.key for column in [*SPEED, *SECONDS]])
    learning, speed = row.seconds.get("learning"), row.images_per_second
    return {
        "sampling_images_per_second": 1 / row.sampling,
        "learning_transitions_per_second": row.transitions / learning if learning else None,
        "images_per_second": speed,
        "speed_up": speed / plain if speed and learning and (plain := plain_speed(row, rows)) else None,
        "sampling_mfu": row.sampling_utilisation,
        "learning_mfu": row.learning_utilisation,
        "memory_bytes": row.memory,
        **{f"seconds_{phase}": row.seconds.get(phase) for phase in PHASES},
    }


def plain_speed(row: Measured, rows: Sequence[Measured]) -> float | None:
    """Images a second, in all phases, of the plain loop that a row of the other loop is compared with."""
    if row.setting.loop == PLAIN:
        return None
    same = [it for it in rows if it.setting.loop == PLAIN and it.setting.compared == row.setting.compared]
    return same[0].images_per_second if same else None


def texts(row: Measured, rows: Sequence[Measured]) -> dict[str, Value]:
    """The values for people: figures of three digits, shares with their phases."""
    found = values(row, rows)
    if not row.seconds:
        return {SPEED[0].key: NO_MEMORY}
    total = sum(row.seconds.values())
    return {
        key: None if value is None else text(key, value, total if key.startswith("seconds_") else None)
        for key, value in found.items()
    }


def text(key: str, value: float, total: float | None) -> str:
    if key.endswith("mfu"):
        return f"{100 * value:.1f} %"
    if key == "memory_bytes":
        return figure(value / 1e9)
    if key == "speed_up":
        return f"{value:.2f} x"
    return figure(value) if total is None else f"{figure(1e3 * value)} ({100 * value / total:.0f} %)"


def figure(value: float) -> str:
    """A number with about three digits: 1234, 123, 12.3, 1.23, 0.123."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def tables(made: Measurements) -> list[Table]:
    """Speed, and the time of an image by phase; each row is complete in itself."""
    rows = [Row("", keys(row) | texts(row, made.rows)) for row in made.rows]
    shown = used_keys(rows)
    measured = [row for row in rows if row.values[SPEED[0].key] != NO_MEMORY]
    return [
        Table(TITLE, [*shown, *SPEED], rows, "", tuple(notes(made))),
        Table("Time of an image by phase", [*shown, *SECONDS], measured, "", (PHASE_NOTE,)),
    ]


def used_keys(rows: Sequence[Row]) -> list[Column]:
    """The keys that tell rows apart, and those that a reader looks for."""
    needed = ("algorithm", "loop", "precision", "micro_batch")
    return [key for key in KEYS if key.key in needed or len({row.values[key.key] for row in rows}) > 1]


def screen_tables(made: Measurements) -> list[Table]:
    """The tables for the terminal: a line a loop, under its precision and micro-batch."""
    shown = []
    for table in tables(made):
        rows = []
        for row in table.rows:
            of = row.values
            how = [of["algorithm"], of["loop"] if of["loop"] == PLAIN else "", "compiled" * (of["compile"] != "none")]
            label: dict[str, Value] = {"label": ", ".join(str(part) for part in how if part)}
            rows.append(Row(f"{of['precision']}, micro-batch {of['micro_batch']}", label | of))
        columns = [Column("label", "algorithm", part=None), *(it for it in table.columns if not it.is_key)]
        shown.append(Table(table.title, columns, rows, "", table.notes))
    return shown


ON_A_CPU = (
    "One thread, as each worker of a sweep has on a CPU; seconds are CPU seconds (user and system), so that other load "
    "matters less."
)
PHASE_NOTE = (
    "In brackets: the share of an image's time. Network: its passes in sampling. Law: what else sampling does (noise, "
    "guidance, x_{t-1} and its log-prob). Learning: forward and backward passes, loss and optimiser steps of all of an "
    "image's transitions. Encoding prompts is not counted: each distinct prompt is encoded once in a run."
)


def notes(made: Measurements) -> list[str]:
    """What the columns mean, and what was not measured."""
    peaks = ", ".join(
        f"{peak.flops / 1e12:.3g} TFLOP/s in {name} ({peak.side} x {peak.side})" for name, peak in made.peaks.items()
    )
    found = [
        "MFU: counted FLOPs of the network's passes (2 for a multiplication and an addition; nothing that "
        "checkpointing computes again) over the time of the whole phase, as a share of the fastest matrix product "
        f"measured in the same call: {peaks}.",
        "Sampling is without decoding. All phases: sampling, decoding, reward and learning, as an epoch has them, "
        "without its metrics, evaluations and files.",
        "Plain loop: eager, in the order of operations of DDPO's public implementation, on the same network and with "
        "the same code for decoding.",
        *([ON_A_CPU] if made.device.type == "cpu" else []),
        f"Peak memory: {'of tensors on the accelerator' if made.device.type == 'cuda' else 'resident in the process'}.",
    ]
    if architectures := sorted({row.setting.architecture for row in made.rows if row.setting.architecture}):
        found.append(
            f"{', '.join(architectures)}: random weights and text embeddings, without text encoders. The law is DDIM's "
            "for every architecture: the arithmetic of a step is of the same size."
        )
    if made.device.type == "cpu" and any(row.setting.config.compile != "none" for row in made.rows):
        found.append("On a CPU nothing is compiled.")
    if other := sorted({row.setting.label for row in made.rows if row.seconds and not row.is_whole}):
        found.append(f"{', '.join(other)}: learns otherwise than from micro-batches of transitions; not measured.")
    return found


def markdown(made: Measurements, header: Mapping[str, str], name: str) -> str:
    lines = "\n".join(f"* {key}: {f'`{value}`' if key == 'command' else value}" for key, value in header.items())
    speed, phases = (table.to_markdown().partition("\n\n")[2].strip() for table in tables(made))
    picture = f"![Throughput by micro-batch]({name}.png)"
    return "\n\n".join([f"# {TITLE}: {name}", lines, speed, picture, "## Time of an image by phase", phases]) + "\n"


def comma_separated(made: Measurements) -> str:
    """The measurements as CSV in base units; fields are empty where nothing was measured."""
    names = [column.key for column in [*KEYS, *SPEED, *SECONDS]]
    lines = io.StringIO()
    writer = csv.DictWriter(lines, [*names, *FLOPS, "note"], lineterminator="\n")
    writer.writeheader()
    for row in made.rows:
        counted: dict[str, Any] = {
            **dict(zip(FLOPS, (row.flops.forward, row.flops.backward, row.peak_flops), strict=True)),
            **values(row, made.rows),
        }
        plain = {key: "" if value is None else f"{value:.6g}" for key, value in counted.items()}
        writer.writerow(keys(row) | plain | {"note": "" if row.seconds else NO_MEMORY})
    return lines.getvalue()


def save(made: Measurements, header: Mapping[str, str], folder: Path, name: str) -> None:
    """Write <name>.md, .csv and .png."""
    write_text(folder / f"{name}.md", markdown(made, header, name))
    write_text(folder / f"{name}.csv", comma_separated(made))
    draw(made.rows, folder / f"{name}.png")
