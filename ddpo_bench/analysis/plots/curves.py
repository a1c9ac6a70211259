"""Training reward, epoch by epoch, against what was spent on it: reward queries, or KL to the pretrained model.

Two algorithms that reach the same reward are told apart by what they spent; the square-root axis is the distance in
which over-optimisation is usually drawn (Gao et al. 2023, "Scaling laws for reward model overoptimization").
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.plots.shared import PANEL, STYLE, Appearance, appearance, make_panels, name_below, save
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm

KL, REWARD = "kl_reference_nats", "reward_mean"


def learning_curves(records: list[RunRecord], path: Path) -> None:
    """Training reward against reward queries, a panel a reward: thick lines = IQM of the seeds, thin lines = the seeds.

    Args:
        records: done runs.
    """
    with mpl.rc_context(STYLE):
        tasks = tasks_of(records)
        figure, panels = make_panels(tasks, PANEL)
        for task, axes in zip(tasks, panels, strict=True):
            for label, runs in cells_of(records, task).items():
                draw_curves(axes, runs, "queries", appearance(records, label))
            axes.margins(x=0.02)
            axes.set_xlabel("reward queries")
            axes.set_ylabel("reward of the training samples")
        name_below(figure, records)
        save(figure, path)


def frontier(records: list[RunRecord], path: Path) -> None:
    """Training reward against KL, as `learning_curves`; points = the evaluation after training, large ones their IQM.

    Args:
        records: done runs.
    """
    with mpl.rc_context(STYLE):
        tasks = tasks_of(records)
        figure, panels = make_panels(tasks, PANEL)
        for task, axes in zip(tasks, panels, strict=True):
            for label, runs in cells_of(records, task).items():
                draw_curves(axes, runs, KL, appearance(records, label))
                draw_ends(axes, runs, appearance(records, label))
            root_scale(axes)
            axes.set_xlabel("KL to the pretrained model (nats, square-root scale)")
            axes.set_ylabel("reward")
        name_below(figure, records, marked=True)
        save(figure, path)


def draw_curves(axes: Axes, runs: list[RunRecord], spent: str, look: Appearance) -> None:
    """The seeds and their IQM over the epochs that every seed has measured."""
    paths = [run.curve.set_index("epoch")[[spent, REWARD]] for run in runs if {spent, REWARD} <= {*run.curve}]
    if not paths:
        return
    for path in paths:
        axes.plot(path[spent], path[REWARD], lw=0.7, color=look.colour, alpha=0.35)
    epochs = pd.concat(paths, axis=1, join="inner").dropna()
    axes.plot(iqm(epochs[[spent]]), iqm(epochs[[REWARD]]), lw=1.8, color=look.colour, ls=look.line)


def draw_ends(axes: Axes, runs: list[RunRecord], look: Appearance) -> None:
    """The evaluation after training."""
    kl = np.array([max(0.0, np.nan_to_num(run.held_out(KL))) for run in runs])
    final = np.array([run.final for run in runs])
    axes.scatter(kl, final, s=14, color=look.colour, marker=look.marker, alpha=0.55, lw=0, clip_on=False)
    axes.scatter(
        iqm(kl), iqm(final), s=70, color=look.colour, marker=look.marker, edgecolor="white", zorder=3, clip_on=False
    )


def root_scale(axes: Axes) -> None:
    """A square-root scale from 0."""
    axes.set_xscale("function", functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * x**2))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
