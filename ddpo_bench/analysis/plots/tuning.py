"""What a search saw: the reward of its trials, one after the other or against their KL."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ddpo_bench.analysis.plots.curves import root_scale
from ddpo_bench.analysis.plots.shared import STYLE, legend_below, make_panels, save
from ddpo_bench.analysis.tuning import Study, Trial

SMALL, ALONE = (3.3, 2.3), (4.6, 3.2)  # inches of a panel
A_ROW = 4
TITLE = 34  # characters of a line
BEST = "#56b4e9"  # no algorithm's colour: a panel is about one algorithm already
MARKS: dict[str, dict[str, Any]] = {
    "complete trial": {"marker": "o", "color": "#333333", "ms": 4.5},
    "breaks a constraint": {"marker": "X", "color": "#cc79a7", "ms": 6},
    "run again on the reported seeds": {"marker": "o", "color": BEST, "ms": 9, "mfc": "none", "mew": 1.8},
}

Point = tuple[float, float]


def tuning_search(studies: list[Study], path: Path) -> None:
    """A panel a study: rewards against the trials' numbers, or the second objective; line: the best so far, or front.

    Args:
        studies: that have complete trials.
    """
    with mpl.rc_context(STYLE):
        titles = [fill(study.cell, TITLE) for study in studies]
        figure, panels = make_panels(titles, ALONE if len(studies) == 1 else SMALL, A_ROW)
        for axes, study in zip(panels, studies, strict=True):
            axes.set_title(axes.get_title("left"), fontsize=8.5)
            for mark, points in points_of(study).items():
                axes.plot(*zip(*points, strict=True), ls="", **MARKS[mark])
            axes.step(*zip(*best_line(study), strict=True), where="post", color=BEST, lw=1.8, zorder=1)
            axes.margins(0.08)
            axes.set_ylabel(study.objectives[0])
            if len(study.objectives) == 1:
                axes.set_xlabel("trial")
                axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            else:
                root_scale(axes)
                axes.set_xlabel("KL (nats), square-root scale")
        marks = [Line2D([], [], ls="", **mark) for mark in MARKS.values()]
        names = [*MARKS, "best so far, or Pareto front"]
        legend_below(figure, [*marks, Line2D([], [], color=BEST, lw=1.8)], names)
        save(figure, path)


def points_of(study: Study) -> dict[str, list[Point]]:
    """The places of complete trials by their marks."""
    found: dict[str, list[Point]] = {mark: [] for mark in MARKS}
    usual, breaks, again = found.values()
    for trial in study.trials:
        if trial.values:
            (usual if trial.feasible else breaks).append(place(trial))
            if trial.hash in study.winners:
                again.append(place(trial))
    return found


def best_line(study: Study) -> list[Point]:
    """The trials that are better than all before them, or than all of less KL; the last one holds to the end."""
    line: list[Point] = []
    for x, reward in sorted((place(trial) for trial in study.trials if trial.counts), key=lambda at: (at[0], -at[1])):
        if not line or reward > line[-1][1]:
            line.append((x, reward))
    end = max(place(trial)[0] for trial in study.trials if trial.values)
    return [*line, (end, line[-1][1])] if line else [(end, float("nan"))]


def place(trial: Trial) -> Point:
    """KL and reward of a complete trial; of one objective, its number and reward."""
    reward, *kl = trial.values
    return (kl[0] if kl else trial.number, reward)
