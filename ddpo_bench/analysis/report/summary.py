"""Writes what a suite's results folder ends with: tables, plots and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.comparison import comparison
from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.plots.curves import frontier, learning_curves
from ddpo_bench.analysis.plots.image_grid import before_after, filmed, illustrated, through_training
from ddpo_bench.analysis.plots.improvement import improvement_intervals
from ddpo_bench.analysis.plots.intervals import reward_intervals
from ddpo_bench.analysis.plots.tuning import tuning_search
from ddpo_bench.analysis.report.page import report
from ddpo_bench.analysis.tables import Table
from ddpo_bench.analysis.tabulate import with_origin
from ddpo_bench.analysis.tuning import read_studies
from ddpo_bench.files import replacing, write_text
from ddpo_bench.run_folder.plan import read_plan

Drawing = tuple[Callable[[Any, Path], None], list[Any]]  # what draws, and what it shows


def summarise(results: Path) -> Table:
    """Compare a suite's runs and write table.md, table.csv, table.tex, plots/*.png and report.html next to them.

    Args:
        results: results/<suite>.
    Returns:
        the table that was written.
    Raises:
        ResultsError, ConfigError: where there are no runs, or a file is damaged.
    """
    records, studies = collect(results), read_studies(results)
    table = with_origin(comparison(records, results.resolve().name), results, records)
    done = [record for record in records if is_done(record)]
    several = len({record.label for record in done}) > 1
    drawings: dict[str, Drawing] = {
        "learning-curves": (learning_curves, done),
        "intervals": (reward_intervals, done),
        "improvement": (improvement_intervals, done if several else []),
        "frontier": (frontier, done),
        "before-after": (before_after, illustrated(done)),
        "through-training": (through_training, filmed(done)),
        "tuning": (tuning_search, [study for study in studies if any(trial.values for trial in study.trials)]),
    }
    (results / "plots").mkdir(exist_ok=True)
    pictures = draw_each(drawings, results / "plots")
    write_text(results / "table.md", table.to_markdown())
    write_text(results / "table.csv", table.to_csv())
    write_text(results / "table.tex", table.to_latex())
    write_text(results / "report.html", report(results, table, read_plan(results), records, pictures, studies))
    return table


def draw_each(drawings: dict[str, Drawing], folder: Path) -> dict[str, Path]:
    """Draw what has something to show; name to file."""
    drawings = {name: drawing for name, drawing in drawings.items() if drawing[1]}
    for name, (draw, shown) in drawings.items():
        with replacing(folder / f"{name}.png") as temporary:
            draw(shown, temporary)
    return {name: folder / f"{name}.png" for name in drawings}
