"""The results as one HTML page that needs no other file and no script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import yaml

from ddpo_bench.analysis.notes import is_done
from ddpo_bench.analysis.over_optimisation import hacking_panel
from ddpo_bench.analysis.plots.shared import cells_of
from ddpo_bench.analysis.plots.time_profile import PARTS, seconds_of, timed
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.report.captions import CAPTIONS
from ddpo_bench.analysis.report.over_optimisation import panel_html
from ddpo_bench.analysis.report.tuning import tuning_html
from ddpo_bench.analysis.report.webpage import Section, breakable, cell, grid, line, paragraph, picture, webpage
from ddpo_bench.analysis.tables import FURTHER, Column, Part, Table
from ddpo_bench.analysis.tuning import Study

TUNING = ("tuning-history", "tuning-pareto", "tuning-parallel", "tuning-importance")
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
        pictures: file name without its ending, of CAPTIONS, to PNG file.
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
        summary = "\n".join([html_grid(self.table, "main"), *map(paragraph, self.table.notes)])
        sections = [
            Section("Summary", summary),
            Section("Runs that are not done", unfinished(self.records)),
            Section("Tuning", tuning_html([*self.studies], self.figures(*TUNING))),
            Section("Learning curves", self.figures("learning-curves")),
            Section("Intervals", self.figures("intervals", "improvement")),
            Section("Over all rewards", self.figures("profiles")),
            Section("Reward against KL", self.figures("frontier")),
            Section("What optimising cost", panel_html(hacking_panel(done))),
            Section("Before and after", self.figures("before-after", "through-training")),
            Section("Time", self.figures("time") + time_grid(timed(done))),
            Section(FURTHER, html_grid(self.table, "further")),
            Section("Provenance", provenance(done)),
            Section("Make it again", commands(self.suite, self.plan, self.records)),
        ]
        return webpage(self.table.title, sections)

    def figures(self, *names: str) -> str:
        """The named pictures with their captions, or why there is none."""
        return "\n".join(self.figure(name) for name in names if name in self.pictures or name in self.absent)

    def figure(self, name: str) -> str:
        if name in self.absent:
            return paragraph(self.absent[name])
        return paragraph(CAPTIONS[name]) + picture(self.pictures[name], CAPTIONS[name])


def html_grid(table: Table, part: Part) -> str:
    """The comparison as HTML."""
    columns = table.part(part)
    lines = [html_line("th", columns, [breakable(column.heading) for column in columns])]
    previous = table.rows[0].group if table.rows else ""
    for row in table.rows:
        texts = [(escape(table.cell(row, column)), table.is_best(row, column)) for column in columns]
        cells = [f"<b>{text}</b>" if best else text for text, best in texts]
        lines.append(html_line("td", columns, cells, "" if row.group == previous else "first"))
        previous = row.group
    return grid(lines)


def html_line(tag: str, columns: list[Column], contents: list[str], kind: str = "") -> str:
    cells = [cell(content, "key" * column.is_key, tag=tag) for column, content in zip(columns, contents, strict=True)]
    return line(cells, kind)


def unfinished(records: list[RunRecord]) -> str:
    """Every run that is not done, with its reason; empty where all are."""
    lines = [
        line([cell(escape(f"{record.cell}, seed {record.seed}"), "key"), cell(escape(record.status), "key"),
              cell(escape(" ".join((record.reason or "").split())), "text")])
        for record in records
        if not is_done(record)
    ]  # fmt: skip
    heads = line([cell(name, "key", tag="th") for name in ("run", "state", "reason")])
    return grid([heads, *lines]) + paragraph("They are in no figure of this page.") if lines else ""


def time_grid(records: list[RunRecord]) -> str:
    """Seconds and share of each part; empty where no run measured them."""
    heads = ["algorithm", "reward"], [*(f"{part} (s)" for part in PARTS), "whole run (s)"]
    lines = [line([cell(name, "key", tag="th") for name in heads[0]] + [cell(name, tag="th") for name in heads[1]])]
    for task in dict.fromkeys(record.task for record in records):
        for i, (label, runs) in enumerate(cells_of(records, task).items()):
            seconds = seconds_of(runs)
            whole = sum(seconds.values())
            figures = [f"{part:.1f} ({part / whole if whole else 0:.0%})" for part in seconds.values()]
            cells = [cell(escape(label), "key"), cell(escape(task), "key"), *map(cell, [*figures, f"{whole:.1f}"])]
            lines.append(line(cells, "" if i else "first"))
    return grid(lines) if records else ""


def provenance(done: list[RunRecord]) -> str:
    """What the runs ran on; how many runs, where they differ."""
    lines = []
    for key, name in PROVENANCE.items():
        found = Counter(str(run.provenance[key]) for run in done if run.provenance.get(key) is not None)
        texts = [value if len(found) == 1 else f"{value} ({count} runs)" for value, count in sorted(found.items())]
        if texts:
            lines.append(line([cell(name, "key"), cell("<br>".join(map(escape, texts)), "text")]))
    return grid(lines) if lines else ""


def commands(suite: str, plan: Mapping[str, Any], records: list[RunRecord]) -> str:
    """The commands, and the plan that they ran."""
    run = next((record for record in records if is_done(record)), records[0])
    commits = {str(record.provenance["git_commit"]) for record in records if record.provenance.get("git_commit")}
    one = f"{suite}/runs/{run.folder.parent.name}/{run.folder.name}"
    steps = [
        *(f"git checkout {commit}" for commit in commits if len(commits) == 1 and "+" not in commit),
        f"ddpo-bench run {suite}",
        f"ddpo-bench run {suite}                  # again: resumes what was interrupted, skips what is done",
        f"ddpo-bench run {suite} --retry-failed   # also runs again what failed",
        f"ddpo-bench table results/{suite}        # makes this page from the runs",
        f"ddpo-bench train results/{one}/config.yaml --out again   # one run by itself",
    ]
    text = f"<pre>{escape(chr(10).join(steps))}</pre>"
    planned = {key: plan[key] for key in ("name", "base", "matrix", "seeds", "tune") if key in plan}
    if not planned:
        return text
    source = escape(yaml.safe_dump(planned, sort_keys=False))
    note = f"With the plan below as `{suite}.yaml`, the first argument of `ddpo-bench run` is that file."
    title = "The plan, with everything that the command line changed"
    return f"{text}\n{paragraph(note)}\n<details><summary>{title}</summary><pre>{source}</pre></details>"
