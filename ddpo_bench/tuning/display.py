"""What the user sees of the trials while a suite is tuned: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ddpo_bench.console import say
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.search_space import Choices, Range, Space
from ddpo_bench.tuning.follow import is_feasible, state_of
from ddpo_bench.tuning.studies import Studies

ENDS = ("complete", "pruned", "failed")


class TuningLines:
    """One line at a trial's start, after each seed, and at its end."""

    def __init__(self, studies: Studies):
        self.trials = studies.tune.trials
        self.seeds = len(studies.tune.seeds)
        self.ended_before = {
            cell.name: sum(state_of(trial) in ENDS for trial in studies.latest(name).values())
            for name, cell in studies.cells.items()
        }
        self.spaces = {cell.name: cell.space for cell in studies.cells.values()}
        self.best: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to tidy up."""

    def started(self, cell: str, trial: FrozenTrial, worker: str) -> None:
        self.say(f"{title(cell, trial)}: {parameters(trial.params, self.spaces[cell])}, by {worker}")

    def judged(self, cell: str, trial: FrozenTrial) -> None:
        seeds = trial.user_attrs["per_seed"]
        if len(seeds) < self.seeds:
            self.say(f"{title(cell, trial)}: seed {len(seeds)}/{self.seeds}, reward {[*seeds.values()][-1]:.4g}")

    def ended(self, cell: str, trial: FrozenTrial) -> None:
        state = state_of(trial)
        self.ended_before[cell] = self.ended_before.get(cell, 0) + (state in ENDS)
        if state == "complete" and is_feasible(trial):
            self.best[cell] = max(self.best.get(cell, trial.values[0]), trial.values[0])
        self.say(f"{title(cell, trial)}: {self.outcome(cell, trial)} ({self.ended_before[cell]}/{self.trials} trials)")

    def outcome(self, cell: str, trial: FrozenTrial) -> str:
        if state_of(trial) == "complete":
            broken = "" if is_feasible(trial) else ", breaks a constraint"
            best = f", best {self.best[cell]:.4g}" if cell in self.best else ""
            return f"reward {trial.values[0]:.4g}{broken}{best}"
        reason = trial.user_attrs.get("reason")
        state = "broken off, goes on in another worker" if state_of(trial) == "waiting" else state_of(trial)
        return f"{state}: {reason}" if reason else state

    def say(self, line: str) -> None:
        say(line)


class TuningBars(TuningLines):
    """A bar a study above the lines."""

    def __init__(self, studies: Studies, console: Console):
        super().__init__(studies)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self.bars = {
            cell: self.progress.add_task(escape(cell), total=self.trials, completed=ended)
            for cell, ended in self.ended_before.items()
        }

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def ended(self, cell: str, trial: FrozenTrial) -> None:
        super().ended(cell, trial)
        self.progress.update(self.bars[cell], completed=self.ended_before[cell])

    def say(self, line: str) -> None:
        self.progress.console.print(escape(line), highlight=False)


class Quiet:
    """Says nothing of the runs of a trial, since the trial's own lines do."""

    def started(self, run: PlannedRun, worker: str) -> None: ...

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None: ...

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None: ...


def tuning_display(studies: Studies) -> TuningLines:
    """The display that suits where standard output goes."""
    console = Console()
    return TuningBars(studies, console) if console.is_terminal else TuningLines(studies)


def title(cell: str, trial: FrozenTrial) -> str:
    return f"{cell}, trial {trial.user_attrs['slot']}"


def parameters(params: Mapping[str, Any], space: Space) -> str:
    """Parameters in one line, the algorithm's own without their prefix."""
    return ", ".join(f"{key.removeprefix('algorithm.')} {short(value, space[key])}" for key, value in params.items())


def short(value: Any, dimension: Range | Choices) -> str:
    """A parameter for people; a choice is its JSON."""
    if isinstance(dimension, Choices):
        return str(json.loads(value))
    return str(dimension.written(value)) if dimension.nats else f"{value:.3g}"
