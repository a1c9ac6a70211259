"""Where a run's time went: sampling, reward, learning, and the rest."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ddpo_bench.analysis.cells import cells_of, labels_of, tasks_of
from ddpo_bench.analysis.plots.intervals import ROWS_STYLE, row_panels
from ddpo_bench.analysis.plots.shared import legend_below, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm

# Okabe and Ito 2008, as for the algorithms, but no algorithm's.
PARTS = {"sampling": "#56b4e9", "reward": "#cc79a7", "learning": "#b8a800", "evaluation and other": "#bbbbbb"}
Seconds = dict[str, float]  # part to seconds of one run


def time_profile(records: list[RunRecord], path: Path) -> None:
    """Stacked bars, a panel a reward, a bar an algorithm, IQM of the seeds.

    Args:
        records: `timed` runs.
    """
    labels = labels_of(records)
    with mpl.rc_context(ROWS_STYLE):
        figure, panels = row_panels(tasks_of(records), labels)
        for task, axes in zip(tasks_of(records), panels, strict=True):
            for label, runs in cells_of(records, task).items():
                draw_bar(axes, labels.index(label), seconds_of(runs))
            axes.margins(x=0.12)
            axes.set_xlabel("seconds of one run")
        legend_below(figure, [Patch(color=colour) for colour in PARTS.values()], list(PARTS))
        save(figure, path)


def draw_bar(axes: Axes, row: int, seconds: Seconds) -> None:
    left = 0.0
    for part, colour in PARTS.items():
        axes.barh(row, seconds[part], left=left, height=0.7, color=colour)
        left += seconds[part]
    axes.annotate(f"{left:#.3g}".rstrip("."), (left, row), xytext=(4, 0), textcoords="offset points", va="center")


def timed(records: list[RunRecord]) -> list[RunRecord]:
    """The runs that measured where their time went."""
    return [record for record in records if not math.isnan(parts_of(record)["sampling"])]


def seconds_of(runs: list[RunRecord]) -> Seconds:
    """IQM over `timed` runs of one cell."""
    measured = [parts_of(run) for run in runs]
    return {part: float(iqm([seconds[part] for seconds in measured])) for part in PARTS}


def parts_of(run: RunRecord) -> Seconds:
    """Seconds of one run; NaN where not measured.

    The rest is what remains of the run's wall time: starting, evaluations, measuring the KL, checkpoints, and
    epochs that an interruption lost.
    """
    columns = {part: run.curve.get(f"seconds_{part}") for part in list(PARTS)[:3]}
    seconds = {part: math.nan if column is None else float(column.sum()) for part, column in columns.items()}
    return seconds | {"evaluation and other": max(0.0, run.seconds - sum(seconds.values()))}
