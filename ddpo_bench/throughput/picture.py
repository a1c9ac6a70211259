"""The picture of throughput: images a second and FLOP utilisation by micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from ddpo_bench.analysis.plots.shared import COLOURS, FURTHER_COLOURS, PANEL, STYLE, legend_below, make_panels, save
from ddpo_bench.throughput.measure import Measured
from ddpo_bench.throughput.settings import PLAIN

PANELS: dict[str, Callable[[Measured], float | None]] = {
    "sampling (images/s)": lambda row: 1 / row.sampling,
    "all phases (images/s)": lambda row: row.images_per_second,
    "MFU of learning (%)": lambda row: None if row.learning_utilisation is None else 100 * row.learning_utilisation,
}
GREY = "#7f7f7f"


def draw(rows: Sequence[Measured], path: Path) -> None:
    """Save a panel a measurement, with a line for each loop, algorithm, precision and way of running the network."""
    measured = [row for row in rows if row.seconds]
    lines = list(dict.fromkeys(name_of(row) for row in measured))
    palette = [*COLOURS.values(), *FURTHER_COLOURS]
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(list(PANELS), PANEL)
        handles = []
        for index, name in enumerate(lines):
            of_line = sorted((row for row in measured if name_of(row) == name), key=lambda row: row.setting.micro_batch)
            colour = palette[(index + 1) % len(palette)]
            style = "--" if of_line[0].setting.loop == PLAIN else "-"
            handles.append(Line2D([], [], color=colour, ls=style, marker="o"))
            for axes, value in zip(panels, PANELS.values(), strict=True):
                points = [(row.setting.micro_batch, found) for row in of_line if (found := value(row)) is not None]
                axes.plot(*zip(*points, strict=True), color=colour, ls=style, marker="o") if points else None
        for axes in panels:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.set_xlabel("micro-batch")
            axes.set_ylim(bottom=0)
        if lines:
            legend_below(figure, handles, lines)
        save(figure, path)


def name_of(row: Measured) -> str:
    how = [row.setting.label, row.precision, row.setting.loop if row.setting.loop == PLAIN else ""]
    how += ["compiled" * (row.setting.config.compile != "none")]
    how += ["checkpointed" * row.setting.config.gradient_checkpointing]
    return ", ".join(filter(None, how))
