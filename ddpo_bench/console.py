"""The display of runs in progress: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ddpo_bench.analysis.diagnosis.metrics import Metrics
from ddpo_bench.analysis.diagnosis.updates import small_gradient
from ddpo_bench.registry import get
from ddpo_bench.sweep.estimate import duration
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.progress import Progress

REPORTS = 4  # lines of progress for each run where output is not a terminal
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 24  # greatest width of a run's reward curve, in characters
ROOMY = 90  # terminals of at least this many columns have room for everything


class Warnings:
    """Warnings about rows of metrics; each kind is given once for each run."""

    def __init__(self) -> None:
        self.given: set[tuple[Path, str]] = set()  # run folders, and the kinds of warnings given about them

    def about(self, run: PlannedRun, row: dict[str, Any]) -> list[str]:
        new = {kind: text for kind, text in mistrusted(run, row) if (run.folder, kind) not in self.given}
        self.given |= {(run.folder, kind) for kind in new}
        return [f"{run.name}: {text}" for text in new.values()]


def mistrusted(run: PlannedRun, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a row says of a run that cannot learn well: the kind, and a sentence."""
    learns = run.config.samples_per_epoch > 1 and get("algorithm", run.config.algorithm.name).learns
    if learns and row.get("advantage_std") == 0:
        yield "advantages", f"epoch {row['epoch']} has nothing to learn from: all rewards that it compares are equal."
    if count := row.get("prompts_truncated"):
        drawn = run.config.samples_per_epoch if "queries" in row else run.config.evaluation.samples
        too_long = f"{count} of {drawn} prompts are longer than the text encoder's input"
        yield "prompts", f"{too_long}: the model does not read their ends."
    if told := small_gradient(Metrics({"algorithm": run.config.algorithm.options}, [row])):
        yield "epsilon", f"{told}. Lower it."


class PlainLines:
    """A line when a run starts, a few while it trains, and one when it ends."""

    def __init__(self, progress: Progress, foresees: bool = True):
        """foresees: whether the time left is told; not by a worker, which does not see the runs of the others."""
        self.progress = progress
        self.foresees = foresees
        self.warnings = Warnings()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to tidy up."""

    def started(self, run: PlannedRun, worker: str) -> None:
        self.progress.started(run)
        say(f"{run.name}: started by {worker}")

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        every = max(1, run.config.epochs // REPORTS)
        self.progress.row(run, row)
        for warning in self.warnings.about(run, row):
            say(warning)
        if "queries" in row and row["epoch"] % every == 0:
            say(f"{run.name}: epoch {row['epoch']}/{run.config.epochs}, {progress_of(row)}")

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        self.progress.ended(run, state)
        left = time_left(self.progress) if self.foresees else ""
        say(f"{run.name}: {outcome(state, reason)} ({self.progress}{left and f', about {left} left'})")


class LiveDisplay:
    """Counts, a bar over all epochs with speed and time left, and a line for each run in progress."""

    def __init__(self, progress: Progress, console: Console):
        self.progress = progress
        self.warnings = Warnings()
        self.lines: dict[Path, Line] = {}
        self.live = Live(self, console=console, redirect_stderr=False)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def started(self, run: PlannedRun, worker: str) -> None:
        self.progress.started(run)
        self.lines[run.folder] = Line(run)

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        self.lines[run.folder].update(row)
        self.progress.row(run, row)
        for warning in self.warnings.about(run, row):
            self.live.console.print(escape(warning), highlight=False)

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        self.progress.ended(run, state)
        del self.lines[run.folder]
        if state != "done":
            self.live.console.print(f"{escape(run.name)}: {escape(outcome(state, reason))}", highlight=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the display at the current width of the terminal; a narrow one gets fewer columns."""
        yield Text(self.progress.with_running(len(self.lines)), no_wrap=True, overflow="ellipsis")
        yield self.overall()
        if self.lines:
            yield runs_table(list(self.lines.values()), options.max_width)

    def overall(self) -> Table:
        runs = self.progress.runs.values()
        bar = ProgressBar(sum(run.epochs for run in runs) or 1, sum(run.epoch for run in runs))
        speed = sum(line.images_per_second for line in self.lines.values())
        grid = Table.grid(Column(ratio=1), Column(no_wrap=True), Column(no_wrap=True), padding=(0, 1), expand=True)
        grid.add_row(bar, f"{speed:.3g} images/s", "time left " + (time_left(self.progress) or "not known yet"))
        return grid


@dataclass
class Line:
    """The line of a run in progress."""

    run: PlannedRun
    epoch: int = 0
    doing: str = "starting"
    images_per_second: float = 0.0
    rewards: list[float] = field(default_factory=list)  # one for each epoch finished by this attempt

    def update(self, row: dict[str, Any]) -> None:
        count = self.run.config.samples_per_epoch
        if "queries" in row:
            self.epoch, self.images_per_second, self.doing = row["epoch"], row["images_per_second"], ""
            self.rewards.append(row["reward_mean"])
        elif row.get("sampled") and row["epoch"] > self.epoch:  # the heartbeat may be older than the last row
            self.epoch = row["epoch"] - 1  # where the run resumes from a checkpoint
            self.doing = f"{row['sampled']}/{count} sampled" if row["sampled"] < count else "learning"


def runs_table(lines: Sequence[Line], width: int) -> Table:
    """A table with a line for each run; narrow terminals get a shorter curve, and not what the run is doing."""
    table = Table.grid(Column(ratio=1, no_wrap=True, overflow="ellipsis"), padding=(0, 1), expand=True)
    roomy = width >= ROOMY
    for _ in range(5 if roomy else 4):
        table.add_column(no_wrap=True)
    for line in lines:
        reward = f"{line.rewards[-1]:.4g}" if line.rewards else ""
        curve = sparkline(line.rewards, min(CURVE, width // 8))
        speed = f"{line.images_per_second:.3g}/s" if line.images_per_second else ""
        cells = [line.run.name, f"{line.epoch}/{line.run.config.epochs}", curve, reward, speed, line.doing]
        table.add_row(*map(Text, cells[: len(table.columns)]))
    return table


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve in block characters, scaled from its lowest to its highest value; long ones are averaged in bins."""
    if not values:
        return ""
    bins = min(width, len(values))
    edges = [len(values) * k // bins for k in range(bins + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    heights = [round((mean - low) / span * (len(BLOCKS) - 1)) if span else len(BLOCKS) // 2 for mean in means]
    return "".join(BLOCKS[height] for height in heights)


Display = PlainLines | LiveDisplay


def display(runs: Sequence[PlannedRun], done_before: int = 0) -> Display:
    """The display that suits where standard output goes."""
    console, progress = Console(), Progress(runs, done_before)
    return LiveDisplay(progress, console) if console.is_terminal else PlainLines(progress)


def display_of_worker(runs: Sequence[PlannedRun], done_before: int) -> Display:
    """The display of a worker in a terminal of its own."""
    return PlainLines(Progress(runs, done_before), foresees=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of text; where output is not a terminal, its lines are as long as they need to be."""
    table = Table(*columns, title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    wide_console().print(table)


def wide_console() -> Console:
    """A console that wraps at the edge of a terminal, but does not wrap where output is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=1000, highlight=False)


def progress_of(row: dict[str, Any]) -> str:
    return f"reward {row['reward_mean']:.4g}, {row['images_per_second']:.3g} images/s"


def outcome(state: str, reason: str | None) -> str:
    again = ", resumes from its checkpoint" if state == "killed" else ""
    return state + (f": {reason}" if reason else "") + again


def time_left(progress: Progress) -> str:
    """The time left; empty where it is not known, or nothing is left."""
    seconds = progress.seconds_left()
    return duration(seconds) if seconds else ""


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)
