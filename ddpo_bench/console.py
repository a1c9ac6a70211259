"""What the user sees while runs train: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ddpo_bench.sweep.plan import PlannedRun

REPORTS = 4  # lines a run between its start and its end, without a terminal


class Tally:
    """Counts of a sweep; the ground that both displays stand on."""

    def __init__(self, runs: Sequence[PlannedRun], done_before: int):
        """runs: those to do now."""
        self.total = len(runs) + done_before
        self.done = done_before
        self.failed = 0

    def __str__(self) -> str:
        return f"{self.done}/{self.total} runs done" + (f", {self.failed} failed" if self.failed else "")

    def count(self, state: str) -> None:
        self.done += state == "done"
        self.failed += state == "failed"


class PlainLines:
    """One line at a run's start and end and a few between."""

    def __init__(self, runs: Sequence[PlannedRun], done_before: int):
        self.tally = Tally(runs, done_before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to tidy up."""

    def started(self, run: PlannedRun, worker: str) -> None:
        say(f"{run.name}: started by {worker}")

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        every = max(1, run.config.epochs // REPORTS)
        if "queries" in row and row["epoch"] % every == 0:
            say(f"{run.name}: epoch {row['epoch']}/{run.config.epochs}, {progress_of(row)}")

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        self.tally.count(state)
        say(f"{run.name}: {outcome(state, reason)} ({self.tally})")


class LiveDisplay:
    """A bar over all runs with the time left, and a line a worker."""

    def __init__(self, runs: Sequence[PlannedRun], done_before: int, console: Console):
        self.tally = Tally(runs, done_before)
        self.epochs = {run.folder: 0 for run in runs}
        self.console = console
        self.overall = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("time left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.whole = self.overall.add_task(str(self.tally), total=sum(run.config.epochs for run in runs))
        self.each = Progress(
            TextColumn("  {task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            console=console,
        )
        self.lines: dict[Path, TaskID] = {}
        self.live = Live(Group(self.overall, self.each), console=console)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, run: PlannedRun, worker: str) -> None:
        self.lines[run.folder] = self.each.add_task(escape(run.name), total=run.config.epochs, news="starting")

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        if "queries" in row:
            self.each.update(self.lines[run.folder], completed=row["epoch"], news=progress_of(row))
            self.reach(run, row["epoch"])
        elif row.get("sampled"):
            news = f"epoch {row['epoch']}: {row['sampled']}/{run.config.samples_per_epoch} images sampled"
            self.each.update(self.lines[run.folder], news=news)

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        self.tally.count(state)
        self.each.remove_task(self.lines.pop(run.folder))
        if state != "killed":
            self.reach(run, run.config.epochs)
        if state != "done":
            self.live.console.print(f"{escape(run.name)}: {escape(outcome(state, reason))}", highlight=False)

    def reach(self, run: PlannedRun, epoch: int) -> None:
        self.epochs[run.folder] = epoch
        self.overall.update(self.whole, completed=sum(self.epochs.values()), description=str(self.tally))


Display = PlainLines | LiveDisplay


def display(runs: Sequence[PlannedRun], done_before: int = 0) -> Display:
    """The display that suits where standard output goes."""
    console = Console()
    return LiveDisplay(runs, done_before, console) if console.is_terminal else PlainLines(runs, done_before)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of text; elsewhere than on a terminal its lines are as long as they need to be."""
    table = Table(*columns, title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    wide_console().print(table)


def wide_console() -> Console:
    """A console that wraps at the terminal's edge only, not at 80 columns of a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=1000, highlight=False)


def progress_of(row: dict[str, Any]) -> str:
    return f"reward {row['reward_mean']:.4g}, {row['images_per_second']:.3g} images/s"


def outcome(state: str, reason: str | None) -> str:
    again = ", starts again from its checkpoint" if state == "killed" else ""
    return state + (f": {reason}" if reason else "") + again


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)
