"""The picture of throughput: images a second and FLOP utilisation by micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.lines import Line2D

from ddpo_bench.analysis.plots.shared import COLOURS, FURTHER_COLOURS, PANEL, STYLE, legend_below, make_panels, save
from ddpo_bench.throughput.measured import Measured
from ddpo_bench.throughput.settings import PLAIN

PANELS: dict[str, Callable[[Measured], float | None]] = {
    "sampling (images/s)": lambda row: 1 / row.sampling,
    "all phases (images/s)": lambda row: row.images_per_second,
    "MFU of learning (%)": lambda row: None if row.learning_utilisation is None else 100 * row.learning_utilisation,
}
PALETTE = [*COLOURS.values(), *FURTHER_COLOURS]


def draw(rows: Sequence[Measured], path: Path) -> None:
    """Save a panel a measurement, with a line for each loop, algorithm, precision and way of running the network."""
    measured = sorted((row for row in rows if row.seconds), key=lambda row: row.setting.micro_batch)
    lines = list(dict.fromkeys(name_of(row) for row in rows if row.seconds))
    sizes = sorted({row.setting.micro_batch for row in measured})
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(list(PANELS), PANEL)
        for axes, value in zip(panels, PANELS.values(), strict=True):
            for index, name in enumerate(lines):
                of_line = [row for row in measured if name_of(row) == name]
                points = [(row.setting.micro_batch, found) for row in of_line if (found := value(row)) is not None]
                x, y = ([*of] for of in zip(*points, strict=True)) if points else ([], [])
                axes.plot(x, y, color=colour_of(index), ls=style_of(name), marker="o")
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, map(str, sizes))
            axes.minorticks_off()
            axes.set_xlabel("micro-batch")
            axes.set_ylim(bottom=0)
        if lines:
            handles = [
                Line2D([], [], color=colour_of(index), ls=style_of(name), marker="o")
                for index, name in enumerate(lines)
            ]
            legend_below(figure, handles, lines)
        save(figure, path)


def colour_of(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def style_of(name: str) -> str:
    return "--" if name.endswith(PLAIN) else "-"


def name_of(row: Measured) -> str:
    setting = row.setting
    how = [setting.label, row.precision, "compiled" * (setting.config.compile != "none")]
    how += ["checkpointed" * setting.config.gradient_checkpointing, PLAIN * (setting.loop == PLAIN)]
    return ", ".join(filter(None, how))
