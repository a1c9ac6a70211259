"""Probability of improvement of every algorithm over every other, by reward and over all of them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from ddpo_bench.analysis.cells import ALL_REWARDS, finals_of, labels_of
from ddpo_bench.analysis.plots.intervals import NAME, ROWS_STYLE, draw_estimate, note_right, row_panels
from ddpo_bench.analysis.plots.shared import appearance, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import probability_of_improvement


def improvement_intervals(records: list[RunRecord], path: Path) -> None:
    """A panel a reward, a row a pair of algorithms; of several rewards one more panel with their mean.

    Args:
        records: done runs of at least two algorithms.
    """
    pairs = [(ours, theirs) for theirs, ours in combinations(labels_of(records), 2)]  # those over the baseline first
    finals = finals_of(records)
    panels = {task: [task] for task in finals} | ({ALL_REWARDS: list(finals)} if len(finals) > 1 else {})
    with mpl.rc_context(ROWS_STYLE):
        figure, drawn = row_panels(list(panels), [pair_name(*pair) for pair in pairs])
        for axes, tasks in zip(drawn, panels.values(), strict=True):
            for row, (ours, theirs) in enumerate(pairs):
                if all({ours, theirs} <= {*finals[task]} for task in tasks):
                    a, b = ([finals[task][label] for task in tasks] for label in (ours, theirs))
                    draw_estimate(axes, row, probability_of_improvement(a, b), appearance(records, ours))
                    note_right(axes, row, f"n = {sum(map(len, a))} : {sum(map(len, b))}")
            divide(axes, pairs)
        save(figure, path)


def pair_name(ours: str, theirs: str) -> str:
    """In one line where there is room for it."""
    name = f"{ours} > {theirs}"
    return name if len(name) <= NAME else f"{ours}\n> {theirs}"


def divide(axes: Axes, pairs: list[tuple[str, str]]) -> None:
    """The middle, and a line where the algorithm that is compared with changes."""
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.axvline(0.5, color="#999999", lw=1, ls="--", zorder=1)
    axes.set_xlabel("probability of improvement")
    for row in range(1, len(pairs)):
        if pairs[row][1] != pairs[row - 1][1]:
            axes.axhline(row - 0.5, color="#cccccc", lw=0.8)
