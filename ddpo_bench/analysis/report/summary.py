"""Writes what a suite's results folder ends with: tables, plots and the report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.common_scale import no_common_scale
from ddpo_bench.analysis.comparison import comparison
from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.plots.frontier import frontier
from ddpo_bench.analysis.plots.image_grid import before_after, filmed, illustrated, through_training
from ddpo_bench.analysis.plots.improvement import improvement_intervals
from ddpo_bench.analysis.plots.intervals import reward_intervals
from ddpo_bench.analysis.plots.learning_curves import learning_curves
from ddpo_bench.analysis.plots.performance import profile_plot
from ddpo_bench.analysis.plots.time_profile import time_profile, timed
from ddpo_bench.analysis.plots.tuning import tuning_history, tuning_importance, tuning_pareto
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.report.page import Report
from ddpo_bench.analysis.tables import Table
from ddpo_bench.analysis.tabulate import with_origin
from ddpo_bench.analysis.tuning import Study
from ddpo_bench.analysis.tuning_files import read_studies
from ddpo_bench.files import replacing, write_text
from ddpo_bench.run_folder.plan import read_plan

T = TypeVar("T")


def summarise(results: Path) -> Table:
    """Compare a suite's runs and write table.md, table.csv, table.tex, plots/*.png and report.html next to them.

    Args:
        results: results/<suite>.
    Returns:
        the table that was written.
    Raises:
        ResultsError, ConfigError: where there are no runs, or a file is damaged.
    """
    records = collect(results)
    suite = results.resolve().name
    table = with_origin(comparison(records, suite), results, records)
    plan = read_plan(results)
    done, studies = [record for record in records if is_done(record)], read_studies(results)
    reason = no_common_scale(done) if done else ""
    absent = {"profiles": reason} if reason else {}
    (results / "plots").mkdir(exist_ok=True)
    pictures = draw_pictures(done, results / "plots", without=absent) | draw_tuning(studies, results / "plots")
    write_text(results / "table.md", table.to_markdown())
    write_text(results / "table.csv", table.to_csv())
    write_text(results / "table.tex", table.to_latex())
    report = Report(suite, table, plan, records, pictures, absent, studies)
    write_text(results / "report.html", report.html())
    return table


def draw_pictures(done: list[RunRecord], folder: Path, without: Collection[str] = ()) -> dict[str, Path]:
    """Name to file of the pictures that these runs allow."""
    several = len({record.label for record in done}) > 1
    plans: dict[str, tuple[Callable[[list[RunRecord], Path], None], list[RunRecord]]] = {
        "learning-curves": (learning_curves, done),
        "intervals": (reward_intervals, done),
        "improvement": (improvement_intervals, done if several else []),
        "profiles": (profile_plot, done),
        "frontier": (frontier, done),
        "before-after": (before_after, illustrated(done)),
        "through-training": (through_training, filmed(done)),
        "time": (time_profile, timed(done)),
    }
    return draw_each({name: plan for name, plan in plans.items() if name not in without}, folder)


def draw_tuning(studies: list[Study], folder: Path) -> dict[str, Path]:
    """Name to file of the pictures of these searches."""
    tried = [study for study in studies if study.trials]
    plans: dict[str, tuple[Callable[[list[Study], Path], None], list[Study]]] = {
        "tuning-history": (tuning_history, [study for study in tried if len(study.objectives) == 1]),
        "tuning-pareto": (tuning_pareto, [study for study in tried if len(study.objectives) == 2]),
        "tuning-importance": (tuning_importance, [study for study in tried if study.importance]),
    }
    return draw_each(plans, folder)


def draw_each(plans: Mapping[str, tuple[Callable[[list[T], Path], None], list[T]]], folder: Path) -> dict[str, Path]:
    """Draw what has something to show."""
    plans = {name: plan for name, plan in plans.items() if plan[1]}
    for name, (draw, shown) in plans.items():
        with replacing(folder / f"{name}.png") as temporary:
            draw(shown, temporary)
    return {name: folder / f"{name}.png" for name in plans}
