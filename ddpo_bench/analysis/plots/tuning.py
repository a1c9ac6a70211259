"""What a search saw: the history of its trials or their Pareto front, and the importance of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ddpo_bench.analysis.plots.frontier import signed_root, signed_square
from ddpo_bench.analysis.plots.shared import STYLE, legend_below, make_panels, save
from ddpo_bench.analysis.tuning import Study, Trial

SMALL = (3.3, 2.3)  # inches of a panel
A_ROW, ALONE = 4, 1.4
TITLE = 34  # characters of a line
# No algorithm's colours: a panel is about one algorithm already.
COUNTS, INFEASIBLE, UNFINISHED, BEST = "#333333", "#cc79a7", "#999999", "#56b4e9"
MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": COUNTS, "ms": 4.5},
    "complete, breaks a constraint": {"marker": "X", "color": INFEASIBLE, "ms": 6},
    "pruned": {"marker": "v", "color": UNFINISHED, "ms": 5},
    "failed": {"marker": "x", "color": "#d55e00", "ms": 5.5, "mew": 1.6},
    "run again on the reported seeds": {"marker": "o", "color": BEST, "ms": 9, "mfc": "none", "mew": 1.8},
}
AGAIN = "run again on the reported seeds"
NAMES = {"kl": "KL (nats)"}


def tuning_history(studies: list[Study], path: Path) -> None:
    """A panel a study: the value of every trial against its number, and the best so far as a step line.

    Args:
        studies: of one objective.
    """
    with mpl.rc_context(STYLE):
        figure, panels = study_panels(studies)
        for axes, study in zip(panels, studies, strict=True):
            draw_trials(axes, study, [(float(trial.number), *trial.values) for trial in study.complete])
            draw_unfinished(axes, study)
            numbers, best = best_so_far(study)
            axes.step(numbers, best, where="post", color=BEST, lw=1.8, zorder=1)
            axes.set_xlim(-0.7, max(study.budget, len(study.trials)) - 0.3)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_xlabel("trial")
            axes.set_ylabel(named(study.objectives[0]))
        name_marks(figure, studies, "best so far")
        save(figure, path)


def tuning_pareto(studies: list[Study], path: Path) -> None:
    """A panel a study: the first objective against the second of every complete trial, the front joined.

    Args:
        studies: of two objectives.
    """
    with mpl.rc_context(STYLE):
        figure, panels = study_panels(studies)
        for axes, study in zip(panels, studies, strict=True):
            draw_trials(axes, study, [(trial.values[1], trial.values[0]) for trial in study.complete])
            front = np.array([trial.values for trial in study.best]).reshape(-1, 2)
            axes.step(front[:, 1], front[:, 0], where="post", color=BEST, lw=1.8, zorder=1)
            axes.set_xscale("function", functions=(signed_root, signed_square))
            axes.margins(0.08)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlabel(f"{named(study.objectives[1])}, square-root scale")
            axes.set_ylabel(named(study.objectives[0]))
        name_marks(figure, studies, "Pareto front", unfinished=False)
        save(figure, path)


def tuning_importance(studies: list[Study], path: Path) -> None:
    """A panel a study, a bar a parameter, the most important at the top.

    Args:
        studies: that have importances.
    """
    most = max(len(study.importance) for study in studies)
    with mpl.rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure, panels = study_panels(studies, height=0.75 + 0.3 * most)
        for axes, study in zip(panels, studies, strict=True):
            names = {parameter.key: parameter.name for parameter in study.space}
            bars = sorted(study.importance.items(), key=lambda bar: -bar[1])
            axes.barh(range(len(bars)), [value for _, value in bars], height=0.6, color=COUNTS)
            axes.set_yticks(range(len(bars)), [names.get(key, key) for key, _ in bars])
            axes.set_ylim(most - 0.5, -0.5)
            axes.set_xlim(0, 1)
            axes.set_xlabel("importance")
        save(figure, path)


def best_so_far(study: Study) -> tuple[list[int], list[float]]:
    """The trials that count, with the highest value until then; the last holds until the search's end."""
    counted = [trial for trial in study.trials if trial.counts]
    if not counted:
        return [], []
    best = list(np.maximum.accumulate([trial.values[0] for trial in counted]))
    return [*(trial.number for trial in counted), study.trials[-1].number], [*best, best[-1]]


def draw_trials(axes: Axes, study: Study, points: Sequence[tuple[float, ...]]) -> None:
    """Complete trials at their points, those that break a constraint marked, winners ringed."""
    for trial, point in zip(study.complete, points, strict=True):
        kinds = ["complete" if trial.feasible else "complete, breaks a constraint"]
        kinds += [AGAIN] if trial.hash in study.winners else []
        for kind in kinds:
            axes.plot(*point, ls="", **MARKS[kind])


def draw_unfinished(axes: Axes, study: Study) -> None:
    """Trials without a value, at the lower edge."""
    for trial in study.trials:
        if trial.state in MARKS and trial.state != "complete":
            axes.plot(
                trial.number, 0.03, ls="", transform=axes.get_xaxis_transform(), clip_on=False, **MARKS[trial.state]
            )


def name_marks(figure: Figure, studies: list[Study], line: str, unfinished: bool = True) -> None:
    """A legend of the marks that occur."""
    trials = [(study, trial) for study in studies for trial in study.trials]
    occurs = {mark_of(trial) for _, trial in trials if unfinished or trial.state == "complete"}
    occurs |= {AGAIN} if any(study.winners for study in studies) else set()
    names = [name for name in MARKS if name in occurs]
    handles = [Line2D([], [], ls="", **MARKS[name]) for name in names]
    legend_below(figure, [*handles, Line2D([], [], color=BEST, lw=1.8)], [*names, line])


def mark_of(trial: Trial) -> str:
    return "complete, breaks a constraint" if trial.state == "complete" and not trial.feasible else trial.state


def named(objective: str) -> str:
    return NAMES.get(objective, objective)


def study_panels(studies: list[Study], height: float = SMALL[1]) -> tuple[Figure, list[Axes]]:
    """A small panel a study, a larger one where it is alone."""
    scale = ALONE if len(studies) == 1 else 1.0
    titles = [fill(study.cell, TITLE) for study in studies]
    figure, panels = make_panels(titles, (scale * SMALL[0], scale * height), A_ROW)
    for axes in panels:
        axes.set_title(axes.get_title("left"), fontsize=8.5)
    return figure, panels
