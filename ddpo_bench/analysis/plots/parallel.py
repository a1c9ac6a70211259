"""Parallel coordinates of a search: a line a trial through its parameters to its value (Inselberg 1985)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from ddpo_bench.analysis.plots.shared import STYLE, save
from ddpo_bench.analysis.plots.tuning import SMALL, UNFINISHED, named, study_panels
from ddpo_bench.analysis.tuning import Parameter, Setting, Study, Trial, setting_text

AXIS = 1.05  # inches between two axes
COLOURS = "viridis_r"
MOST_CHOICES = 8  # that are named on an axis


class Scale(NamedTuple):
    """One vertical axis: its name, and heights in [0, 1] with what is written there."""

    name: str
    ticks: list[tuple[float, str]]


def tuning_parallel(studies: list[Study], path: Path) -> None:
    """A panel a study; a trial's colour is its first value, the best's line is thick."""
    widest = max(len(study.space) for study in studies)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, panels = study_panels(studies, max(SMALL[0], AXIS * widest + 1), SMALL[1] + 0.2)
        for axes, study in zip(panels, studies, strict=True):
            draw_axes(axes, [*map(scale_of, study.space), value_scale(study)])
            draw_lines(axes, study)
        save(figure, path)


def draw_axes(axes: Axes, scales: list[Scale]) -> None:
    axes.set_axis_off()
    axes.set_xlim(-0.45, len(scales) - 0.75)
    axes.set_ylim(-0.32, 1.06)
    for x, scale in enumerate(scales):
        axes.plot([x, x], [0, 1], color="#999999", lw=1, zorder=3)
        axes.text(x, -0.1, scale.name.replace("_", "_\n"), ha="center", va="top", fontsize=8)
        for height, text in scale.ticks:
            axes.plot([x - 0.03, x], [height, height], color="#999999", lw=1, zorder=3)
            axes.text(
                x - 0.05, height, text, ha="right", va="center", fontsize=7, color="#333333", zorder=4,
                bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.6},
            )  # fmt: skip


def draw_lines(axes: Axes, study: Study) -> None:
    """Trials without a value end at their last parameter; better ones are drawn over worse ones."""
    for trial in study.trials:
        if trial.state != "complete":
            axes.plot(heights_of(study, trial), color=UNFINISHED, lw=0.8, ls=":", zorder=1)
    best = {trial.number for trial in study.best}
    for trial in sorted(study.complete, key=lambda trial: (trial.number in best, study.gains(trial))):
        colour = mpl.colormaps[COLOURS](0.08 + 0.92 * rank(study, trial))
        style, width = "-" if trial.feasible else "--", 3.0 if trial.number in best else 1.1
        axes.plot(heights_of(study, trial), color=colour, lw=width, ls=style, alpha=0.9, zorder=2)


def heights_of(study: Study, trial: Trial) -> list[float]:
    """Where its line crosses each axis, NaN where it has no setting or value."""
    heights = [height(parameter, trial.params.get(parameter.key)) for parameter in study.space]
    if trial.state != "complete":
        return heights
    low, high = value_range(study)
    return [*heights, (trial.values[0] - low) / (high - low)]


def height(parameter: Parameter, value: Setting) -> float:
    """In [0, 1]."""
    if parameter.choices:
        last = len(parameter.choices) - 1
        place = parameter.choices.index(value) if value in parameter.choices else math.nan
        return place / last if last else 0.5 + 0 * place
    if value is None:
        return math.nan
    measure = math.log if parameter.log else float
    low, high, at = (measure(float(x)) for x in (parameter.low, parameter.high, value))
    return (at - low) / (high - low)


def scale_of(parameter: Parameter) -> Scale:
    """A parameter's axis: its choices, or the ends of its range and on a log axis the powers of ten between."""
    if parameter.choices:
        shown = parameter.choices[:: math.ceil(len(parameter.choices) / MOST_CHOICES)]
        return Scale(parameter.name, [(height(parameter, choice), setting_text(choice)) for choice in shown])
    marks = [parameter.low, parameter.high]
    if parameter.log:
        exponents = range(math.ceil(math.log10(parameter.low)), math.floor(math.log10(parameter.high)) + 1)
        marks += [10.0**exponent for exponent in exponents]
    placed = [(height(parameter, mark), f"{mark:g}") for mark in marks]
    ends, between = placed[:2], placed[2:]
    unit = f"_({parameter.unit})" if parameter.unit else ""
    return Scale(parameter.name + unit, ends + [(at, text) for at, text in between if 0.12 < at < 0.88])


def value_scale(study: Study) -> Scale:
    """The last axis: the first objective."""
    low, high = value_range(study)
    ticks = [(at, f"{low + at * (high - low):.3g}".replace("-", "−")) for at in (0, 0.5, 1)] if study.complete else []
    return Scale(named(study.objectives[0]), ticks)


def value_range(study: Study) -> tuple[float, float]:
    values = [trial.values[0] for trial in study.complete] or [0.0, 1.0]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def rank(study: Study, trial: Trial) -> float:
    """Its place among the complete trials, 0 the worst and 1 the best: one outlier leaves the others their colours."""
    gains = np.array([study.gains(other)[0] for other in study.complete])
    return float((gains < study.gains(trial)[0]).sum() / max(1, len(gains) - 1))
