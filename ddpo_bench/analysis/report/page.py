"""The results as one HTML page that needs no other file and no script; what it says is in the templates next to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddpo_bench.analysis.common_scale import no_common_scale
from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.over_optimisation import over_optimisation
from ddpo_bench.analysis.overhead import measured, profile
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.report.filters import FILTERS
from ddpo_bench.analysis.report.tuning import best_files, searches, winners
from ddpo_bench.analysis.tables import Table
from ddpo_bench.analysis.tuning import Study


def report(
    results: Path,
    table: Table,
    plan: Mapping[str, Any],
    records: list[RunRecord],
    pictures: Mapping[str, Path],
    studies: Sequence[Study] = (),
) -> str:
    """The page.

    Args:
        results: the suite's results folder.
        plan: suite.yaml, empty without one.
        records: all runs, whatever became of them.
        pictures: name to PNG file.
        studies: what was tuned.
    """
    suite, done = results.resolve().name, [record for record in records if is_done(record)]
    planned = {key: plan[key] for key in ("name", "base", "matrix", "seeds", "tune") if key in plan}
    commits = {str(run.provenance["git_commit"]) for run in records if run.provenance.get("git_commit")}
    folder = (done or records)[0].folder
    timed = measured(done)
    return templates().get_template("report.html.j2").render(
        suite=suite,
        table=table,
        pictures=pictures,
        no_scale=no_common_scale(done) if len({run.task for run in done}) > 1 else "",
        changes=over_optimisation(done),
        seconds=profile(timed, suite, results, None) if timed else None,
        searches=searches(studies),
        winners=winners(studies),
        best_files=best_files(studies),
        commits=[commit for commit in commits if len(commits) == 1 and "+" not in commit],
        one_run=f"runs/{folder.parent.name}/{folder.name}",
        plan=yaml.safe_dump(planned, sort_keys=False) if planned else "",
    ).lstrip()  # fmt: skip


def templates() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= FILTERS
    return made
