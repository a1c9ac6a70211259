"""Performance profiles and aggregates of all algorithms over all rewards, on one scale."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpo_bench.analysis.across_tasks import aggregate_iqm, aggregate_mean, performance_profile
from ddpo_bench.analysis.common_scale import on_common_scale
from ddpo_bench.analysis.plots.intervals import AROUND, FAINT, ROW, draw_estimate, note_right
from ddpo_bench.analysis.plots.shared import PANEL, STYLE, appearance, name_below, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Array

MOST_TAUS = 240
Scaled = dict[str, list[Array]]
AXIS = "normalised final reward (0: frozen, 1: best)"


def profile_plot(records: list[RunRecord], path: Path) -> None:
    """Left the profiles with their bands; right the aggregate IQM (filled) and mean (hollow) with their intervals.

    Args:
        records: done runs that have a common scale.
    """
    scores = on_common_scale(records)
    with mpl.rc_context(STYLE):
        height = max(PANEL[1], AROUND + 1.6 * ROW * len(scores))
        figure = Figure(figsize=(2.2 * PANEL[0], height), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_profiles(left, scores, records)
        draw_aggregates(right, scores, records)
        name_below(figure, records)
        save(figure, path)


def draw_profiles(axes: Axes, scores: Scaled, records: list[RunRecord]) -> None:
    tau = thresholds(scores)
    for label, tasks in scores.items():
        profile, look = performance_profile(tasks, tau), appearance(records, label)
        axes.fill_between(tau, profile.low, profile.high, color=look.colour, alpha=0.15, lw=0, step="post")
        axes.step(tau, profile.share, where="post", color=look.colour, ls=look.line, lw=1.8)
    axes.set_title("performance profiles")
    axes.set_xlabel(f"tau: {AXIS}")
    axes.set_ylabel("share of runs above tau")
    axes.set_ylim(-0.02, 1.02)


def thresholds(scores: Scaled) -> Array:
    """Every score, as the shares change there alone, with a margin; evenly spaced where there are very many."""
    values = np.unique(np.concatenate([task for tasks in scores.values() for task in tasks]))
    margin = 0.05 * np.ptp(values)
    between = values if len(values) <= MOST_TAUS else np.linspace(values[0], values[-1], MOST_TAUS)
    return np.array([values[0] - margin, *between, values[-1] + margin])


def draw_aggregates(axes: Axes, scores: Scaled, records: list[RunRecord]) -> None:
    for row, (label, tasks) in enumerate(scores.items()):
        look = appearance(records, label)
        draw_estimate(axes, row - 0.16, aggregate_iqm(tasks), look)
        draw_estimate(axes, row + 0.16, aggregate_mean(tasks), look, filled=False)
        note_right(axes, row, f"n = {sum(map(len, tasks))}")
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_title("over all rewards")
    axes.set_xlabel(AXIS)
    kinds = [Line2D([], [], ls="", marker="o", color=FAINT, mfc=fill) for fill in (FAINT, "white")]
    axes.legend(
        kinds, ["IQM", "mean"], loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False, fontsize=8
    )  # next to the title, where no dot can be
