"""From a results folder to its comparison table, by the final reward or by what else was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ddpo_bench.analysis.budget import equal_budget
from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.comparison import comparison
from ddpo_bench.analysis.measures import FINAL, find_measure
from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.tables import Table
from ddpo_bench.analysis.tuning import read_studies, tuning_notes
from ddpo_bench.run_folder.plan import read_plan


def tabulate(results: Path, metric: str = FINAL.key, budget: str | None = None, at: float | None = None) -> Table:
    """The comparison of a suite's runs; writes nothing.

    Args:
        results: results/<suite>.
        metric: what `find_measure` knows.
        budget: "queries", "seconds" or "kl": compare the training reward at an equal one instead of the metric.
        at: how much of it; without, the largest that all runs of a reward reached.
    Raises:
        ResultsError, ConfigError: where there are no runs, a file is damaged, or the runs cannot be compared so.
    """
    records = collect(results)
    measure = find_measure(metric, records)
    limits = equal_budget([record for record in records if is_done(record)], budget, at) if budget else None
    return with_origin(comparison(records, results.resolve().name, measure, limits), results, records)


def with_origin(table: Table, results: Path, records: list[RunRecord]) -> Table:
    """The table with what its runs cannot tell: the tuning before them, the command, and how long the suite took."""
    plan = read_plan(results)
    seconds = plan.get("wall_seconds")
    took = f", {seconds / 60:.1f} minutes in all" if seconds else ""
    note = f"Made by `ddpo-bench run {results.resolve().name}`{took}."
    return replace(table, notes=(*table.notes, *tuning_notes(read_studies(results), records), note))
