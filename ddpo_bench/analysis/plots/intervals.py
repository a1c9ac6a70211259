"""Dots with their intervals in rows: the final reward of every algorithm, `frozen` as a line to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpo_bench.analysis.cells import ALL_REWARDS, cells_of, labels_of, tasks_of
from ddpo_bench.analysis.common_scale import no_common_scale, on_common_scale
from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.plots.shared import COLOURS, STYLE, Appearance, appearance, make_panels, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate, estimate

WIDTH, ROW, AROUND = 3.6, 0.26, 1.0  # inches: of a panel, of a row, of what is over and under the rows
NAME = 34  # characters of a line of a row's name
FAINT = "#666666"
ROWS_STYLE = STYLE | {"axes.grid.axis": "x", "ytick.color": "#222222", "ytick.major.size": 0}


def reward_intervals(records: list[RunRecord], path: Path) -> None:
    """A panel a reward, a row an algorithm: dot = estimate over the seeds, bar = its interval, small dots = seeds.

    Of several rewards that have a common scale, one more panel with the estimate over the runs of all of them.

    Args:
        records: done runs.
    """
    tasks, labels = tasks_of(records), labels_of(records)
    scaled = {} if len(tasks) == 1 or no_common_scale(records) else on_common_scale(records)
    with mpl.rc_context(ROWS_STYLE):
        figure, panels = row_panels([*tasks, ALL_REWARDS] if scaled else tasks, labels)
        for task, axes in zip(tasks, panels, strict=False):
            for label, runs in cells_of(records, task).items():
                draw_runs(axes, labels.index(label), runs, appearance(records, label))
            axes.set_xlabel("final reward")
        for row, (label, scores) in enumerate(scaled.items()):
            draw_estimate(panels[-1], row, estimate(scores), appearance(records, label))
            note_right(panels[-1], row, f"n = {sum(map(len, scores))}")
            panels[-1].set_xlabel("normalised final reward (0: frozen, 1: best)")
        save(figure, path)


def draw_runs(axes: Axes, row: int, runs: list[RunRecord], look: Appearance) -> None:
    """One row of a reward's panel; the baseline's estimate goes through all rows."""
    finals = [run.final for run in runs]
    found = estimate(finals)
    if runs[0].algorithm == BASELINE:
        axes.axvline(found.value, color=COLOURS[BASELINE], ls="--", lw=1, zorder=1)
    axes.scatter(finals, np.full(len(finals), row + 0.26), s=7, color=look.colour, lw=0, alpha=0.7)
    draw_estimate(axes, row, found, look)
    note_right(axes, row, f"n = {len(runs)}")


def draw_estimate(axes: Axes, row: int, found: Estimate, look: Appearance) -> None:
    """A dot and, where there is one, its interval."""
    if found.has_interval:
        axes.plot([found.low, found.high], [row, row], color=look.colour, lw=2.4, solid_capstyle="butt", alpha=0.75)
    axes.plot(found.value, row, marker=look.marker, ms=6, mew=0.8, color=look.colour, mec="white")


def note_right(axes: Axes, row: int, text: str) -> None:
    """What a row's estimate rests on, right of the panel."""
    axes.annotate(
        text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        color=FAINT, fontsize=8, va="center", annotation_clip=False,
    )  # fmt: skip


def row_panels(titles: Sequence[str], names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A panel a title, all with the same named rows, the first at the top; names are at the left edge only."""
    names = ["\n".join(fill(line, NAME) for line in name.split("\n")) for name in names]
    room = 0.075 * max(len(line) for name in names for line in name.split("\n"))
    row = ROW * (1 + 0.6 * max(name.count("\n") for name in names))
    figure, panels = make_panels(titles, (WIDTH, AROUND + row * len(names)), sharey=True)
    figure.set_figwidth(figure.get_figwidth() + room)
    for axes in panels:
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
    return figure, panels
