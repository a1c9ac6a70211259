"""Where a run's time went: sampling, reward, learning, and the rest."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl

from ddpo_bench.analysis.collect import RunRecord
from ddpo_bench.analysis.plots.shared import STYLE, cells_of, legend_below, make_panels, save
from ddpo_bench.analysis.statistics import iqm

# Okabe and Ito 2008, as for the algorithms, but no algorithm's.
PARTS = {"sampling": "#56b4e9", "reward": "#cc79a7", "learning": "#b8a800", "evaluation and other": "#bbbbbb"}
Seconds = dict[str, float]  # part to seconds of one run


def time_profile(records: list[RunRecord], path: Path) -> None:
    """Stacked bars, a panel a reward, a bar an algorithm, IQM of the seeds.

    Args:
        records: `timed` runs.
    """
    with mpl.rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure, panels = make_panels(records)
        for task, axes in panels.items():
            cells = {label: seconds_of(runs) for label, runs in cells_of(records, task).items()}
            left = dict.fromkeys(cells, 0.0)
            for part, colour in PARTS.items():
                widths = [seconds[part] for seconds in cells.values()]
                axes.barh(list(cells), widths, left=list(left.values()), height=0.7, color=colour, label=part)
                left = {label: left[label] + seconds[part] for label, seconds in cells.items()}
            for label, end in left.items():
                axes.annotate(
                    f"{end:#.3g}".rstrip("."), (end, label), xytext=(4, 0), textcoords="offset points", va="center"
                )
            axes.invert_yaxis()
            axes.margins(x=0.12)
            axes.set_xlabel("seconds of one run")
        handles, names = next(iter(panels.values())).get_legend_handles_labels()
        legend_below(figure, handles, names)
        save(figure, path)


def timed(records: list[RunRecord]) -> list[RunRecord]:
    """The runs that measured where their time went."""
    return [record for record in records if not math.isnan(parts_of(record)["sampling"])]


def seconds_of(runs: list[RunRecord]) -> Seconds:
    """IQM over `timed` runs of one cell."""
    measured = [parts_of(run) for run in runs]
    return {part: float(iqm([seconds[part] for seconds in measured])) for part in PARTS}


def parts_of(run: RunRecord) -> Seconds:
    """Seconds of one run; NaN where not measured.

    The rest is what remains of the run's wall time: starting, held-out evaluations, measuring the KL, checkpoints, and
    epochs that an interruption lost.
    """
    columns = {part: run.curve.get(f"seconds_{part}") for part in list(PARTS)[:3]}
    seconds = {part: math.nan if column is None else float(column.sum()) for part, column in columns.items()}
    return seconds | {"evaluation and other": max(0.0, run.seconds - sum(seconds.values()))}
