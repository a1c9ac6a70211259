"""Writes what a suite's results folder ends with: tables, plots and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ddpo_bench.analysis.collect import RunRecord, collect
from ddpo_bench.analysis.comparison import comparison
from ddpo_bench.analysis.frontier import frontier
from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.plots import learning_curves
from ddpo_bench.analysis.report import Report
from ddpo_bench.analysis.strip import before_after, filmed, illustrated, through_training
from ddpo_bench.analysis.tables import Table
from ddpo_bench.analysis.tabulate import with_origin
from ddpo_bench.analysis.time_profile import time_profile, timed
from ddpo_bench.config import load_yaml
from ddpo_bench.files import replacing, write_text


def summarise(results: Path) -> Table:
    """Compare a suite's runs and write table.md, table.csv, table.tex, plots/*.png and report.html beside them.

    Args:
        results: results/<suite>.
    Returns:
        the table that was written.
    Raises:
        ResultsError, ConfigError: where there are no runs, or a file is damaged.
    """
    records = collect(results)
    suite = results.resolve().name
    table = with_origin(comparison(records, suite), results)
    plan = load_yaml(results / "suite.yaml") if (results / "suite.yaml").exists() else {}
    (results / "plots").mkdir(exist_ok=True)
    pictures = draw_pictures([record for record in records if is_done(record)], results / "plots")
    write_text(results / "table.md", table.to_markdown())
    write_text(results / "table.csv", table.to_csv())
    write_text(results / "table.tex", table.to_latex())
    write_text(results / "report.html", Report(suite, table, plan, records, pictures).html())
    return table


def draw_pictures(done: list[RunRecord], folder: Path) -> dict[str, Path]:
    """Name to file of the pictures that these runs allow."""
    plans: dict[str, tuple[Callable[[list[RunRecord], Path], None], list[RunRecord]]] = {
        "learning-curves": (learning_curves, done),
        "frontier": (frontier, done),
        "before-after": (before_after, illustrated(done)),
        "through-training": (through_training, filmed(done)),
        "time": (time_profile, timed(done)),
    }
    for name, (draw, runs) in plans.items():
        if runs:
            with replacing(folder / f"{name}.png") as temporary:
                draw(runs, temporary)
    return {name: folder / f"{name}.png" for name, (_, runs) in plans.items() if runs}
