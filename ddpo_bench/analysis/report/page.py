"""The results as one HTML page that needs no other file and no script; what it says is in the templates next to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.over_optimisation import over_optimisation
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.report.filters import FILTERS
from ddpo_bench.analysis.report.tuning import tuned
from ddpo_bench.analysis.tables import Table
from ddpo_bench.analysis.tuning import Study

PROVENANCE = {
    "ddpo_bench": "ddpo-bench", "git_commit": "commit", "torch": "torch", "diffusers": "diffusers",
    "python": "Python", "platform": "platform", "processor": "processor", "threads": "threads a run",
    "precision": "precision",
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What a report is made of.

    Attributes:
        suite: its name, also that of its results folder.
        plan: suite.yaml, empty without one.
        records: all runs, whatever became of them.
        pictures: name to PNG file.
        absent: of a picture that these runs do not allow, why.
        studies: what was tuned.
    """

    suite: str
    table: Table
    plan: Mapping[str, Any]
    records: list[RunRecord]
    pictures: Mapping[str, Path]
    absent: Mapping[str, str] = field(default_factory=dict)
    studies: Sequence[Study] = ()

    def html(self) -> str:
        """The page."""
        done = [record for record in self.records if is_done(record)]
        planned = {key: self.plan[key] for key in ("name", "base", "matrix", "seeds", "tune") if key in self.plan}
        commits = {str(run.provenance["git_commit"]) for run in self.records if run.provenance.get("git_commit")}
        folder = (done or self.records)[0].folder
        return templates().get_template("report.html.j2").render(
            report=self,
            unfinished_runs=[record for record in self.records if not is_done(record)],
            changes=over_optimisation(done),
            provenance=provenance(done),
            commits=[commit for commit in commits if len(commits) == 1 and "+" not in commit],
            one_run=f"runs/{folder.parent.name}/{folder.name}",
            plan=yaml.safe_dump(planned, sort_keys=False) if planned else "",
            tuned=tuned(self.studies),
        ).lstrip()  # fmt: skip


def templates() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= FILTERS
    return made


def provenance(done: list[RunRecord]) -> list[tuple[str, list[str]]]:
    """What the runs ran on; how many runs, where they differ."""
    rows = []
    for key, name in PROVENANCE.items():
        found = Counter(str(run.provenance[key]) for run in done if run.provenance.get(key) is not None)
        texts = [value if len(found) == 1 else f"{value} ({count} runs)" for value, count in sorted(found.items())]
        rows += [(name, texts)] if texts else []
    return rows
