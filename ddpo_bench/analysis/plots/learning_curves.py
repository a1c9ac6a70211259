"""Learning curves: training reward against reward queries."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd

from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.plots.shared import PANEL, STYLE, appearance, make_panels, name_below, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm


def learning_curves(records: list[RunRecord], path: Path) -> None:
    """Training reward against reward queries, a panel a reward: line = IQM of the seeds, band = their range.

    Args:
        records: done runs.
    """
    tasks = tasks_of(records)
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(tasks, PANEL)
        for task, axes in zip(tasks, panels, strict=True):
            for label, runs in cells_of(records, task).items():
                curves, look = seeds_by_query(runs), appearance(records, label)
                if curves.empty:
                    continue
                low, high = curves.min(axis=1), curves.max(axis=1)
                axes.fill_between(curves.index, low, high, color=look.colour, alpha=0.18, lw=0)
                axes.plot(curves.index, iqm(curves), lw=1.8, color=look.colour, ls=look.line)
            axes.margins(x=0.02)
            axes.set_xlabel("reward queries")
            axes.set_ylabel("reward of the training samples")
        name_below(figure, records)
        save(figure, path)


def seeds_by_query(runs: list[RunRecord]) -> pd.DataFrame:
    """Training reward, a row a query count that all seeds have, a column a seed."""
    measured = [run for run in runs if "reward_mean" in run.curve]
    curves = {run.seed: run.curve.set_index("queries")["reward_mean"] for run in measured}
    return pd.DataFrame(curves).dropna()
