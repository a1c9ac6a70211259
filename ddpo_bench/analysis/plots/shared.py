"""What all plots share: a panel a reward, a colour an algorithm, the same PNG bytes each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpo_bench.analysis.records import RunRecord

# Okabe and Ito 2008: eight colours that colour-blind readers tell apart.
COLOURS = {
    "frozen": "#7f7f7f",
    "policy_gradient": "#e69f00",
    "ppo": "#0072b2",
    "trpo_penalty": "#009e73",
    "sac": "#d55e00",
}
FURTHER_COLOURS = ("#cc79a7", "#56b4e9", "#b8a800", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.7, "axes.edgecolor": "#999999",
    "axes.axisbelow": True, "xtick.color": "#555555", "ytick.color": "#555555", "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}  # fmt: skip
PANEL = (4.6, 3.3)  # inches
PANELS_A_ROW = 3
CHARACTERS, HANDLE, LEGEND_ROW = 12.5, 7, 0.2  # a legend: characters an inch, a line with its gaps in such, inches


class Appearance(NamedTuple):
    """How a cell is drawn."""

    colour: str
    line: str
    marker: str


def appearance(records: list[RunRecord], label: str) -> Appearance:
    """One colour an algorithm, one line style an option set of it; when colours run out, a line style an algorithm."""
    names = {record.label: record.algorithm for record in records}
    name, others = names[label], sorted(set(names.values()) - set(COLOURS))
    variant = [other for other, algorithm in names.items() if algorithm == name].index(label)
    colour = COLOURS.get(name)
    if colour is None:
        turn, place = divmod(others.index(name), len(FURTHER_COLOURS))
        colour, variant = FURTHER_COLOURS[place], variant + turn
    return Appearance(colour, LINE_STYLES[variant % len(LINE_STYLES)], MARKERS[variant % len(MARKERS)])


def make_panels(
    titles: Sequence[str], size: tuple[float, float], columns: int = PANELS_A_ROW, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel a title, from left to right and from the top.

    Args:
        size: inches of a panel.
        columns: at most so many side by side.
    """
    columns = min(len(titles), columns)
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flatten())
    for spare in panels[len(titles) :]:
        spare.set_visible(False)
    for title, axes in zip(titles, panels, strict=False):
        axes.set_title(title)
    return figure, panels[: len(titles)]


def name_below(figure: Figure, records: list[RunRecord], marked: bool = False) -> None:
    """A legend of the algorithms under the panels."""
    looks = {record.label: appearance(records, record.label) for record in records}
    handles = [
        Line2D([], [], color=look.colour, ls=look.line, lw=2, marker=look.marker if marked else "")
        for look in looks.values()
    ]
    legend_below(figure, handles, list(looks))


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """In as many columns as there is width for; the figure grows by its rows, so that the panels keep their size."""
    width, height = figure.get_size_inches()
    room = int(width * CHARACTERS)
    wrapped = [fill(name, room - HANDLE) for name in names]
    lengths = [HANDLE + max(map(len, name.split("\n"))) for name in wrapped]
    columns = len(names) if sum(lengths) <= room else max(1, room // max(lengths))
    rows = -(-len(names) // columns)
    lines = max(name.count("\n") + 1 for name in wrapped)
    figure.set_size_inches(width, height + LEGEND_ROW * rows * lines)
    figure.legend(handles, wrapped, loc="outside lower center", ncols=columns, frameon=False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without the metadata that would change with the library's version."""
    figure.savefig(path, dpi=150, format="png", metadata={"Software": None})
