"""Learning curves: training reward against reward queries."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.plots.shared import PANEL, STYLE, appearance, make_panels, name_below, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm

LONGEST_BESIDE = 20  # characters of a name that still leave room for a panel beside it


def learning_curves(records: list[RunRecord], path: Path) -> None:
    """Training reward against reward queries, a panel a reward: line = IQM of the seeds, band = their range.

    Names stand beside their lines, or, where they are long, under the panels.

    Args:
        records: done runs.
    """
    beside = max(len(record.label) for record in records) <= LONGEST_BESIDE
    with mpl.rc_context(STYLE):
        tasks = tasks_of(records)
        figure, panels = make_panels(tasks, PANEL)
        for task, axes in zip(tasks, panels, strict=True):
            ends = []
            for label, runs in cells_of(records, task).items():
                curves = seeds_by_query(runs)
                if curves.empty:
                    continue
                line, look = iqm(curves), appearance(records, label)
                axes.fill_between(
                    curves.index, curves.min(axis=1), curves.max(axis=1), color=look.colour, alpha=0.18, lw=0
                )
                axes.plot(curves.index, line, lw=1.8, color=look.colour, ls=look.line)
                ends.append((float(curves.index[-1]), float(line[-1]), label, look.colour))
            axes.margins(x=0.02)
            axes.set_xlabel("reward queries")
            axes.set_ylabel("reward of the training samples")
            if beside:
                label_right(axes, ends)
        if not beside:
            name_below(figure, records)
        save(figure, path)


def seeds_by_query(runs: list[RunRecord]) -> pd.DataFrame:
    """Training reward, a row a query count that all seeds have, a column a seed."""
    measured = [run for run in runs if "reward_mean" in run.curve]
    curves = {run.seed: run.curve.set_index("queries")["reward_mean"] for run in measured}
    return pd.DataFrame(curves).dropna()


def label_right(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Names at the lines' right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = 0.075 * (high - low)
    heights = spread([y for _, y, _, _ in ends], gap)
    for (_, _, label, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            label, (1.0, height), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            color=colour, va="center", fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def spread(heights: list[float], gap: float) -> list[float]:
    """The heights, moved up from the lowest until all are at least `gap` apart, then centred as before."""
    order = np.argsort(heights, kind="stable")
    placed = np.array(heights, dtype=float)
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + gap)
    return list(placed - (placed.mean() - np.mean(heights))) if len(placed) else []
