"""What the user sees of the trials while a suite is tuned: lines, and on a terminal a bar a study below them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ddpo_bench.console import say
from ddpo_bench.sweep.follow import Follower
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.search_space import Space
from ddpo_bench.tuning.studies import Slot, Studies, is_feasible, state_of

ENDS = ("complete", "pruned", "failed")


class TuningDisplay(Follower[Slot]):
    """One line at a trial's start, after each seed, and at its end."""

    def __init__(self, studies: Studies):
        super().__init__(studies)
        self.seeds: dict[int, int] = {}  # of a trial that was told of, by its id in the storage: seeds that are done
        self.best: dict[str, float] = {}
        console = Console()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("trials"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.bars = {
            name: self.progress.add_task(
                cell.name,
                total=studies.tune.trials,
                completed=sum(state_of(trial) in ENDS for trial in studies.latest(name).values()),
            )
            for name, cell in studies.cells.items()
        }

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def is_known(self, attempt: FrozenTrial) -> bool:
        """A trial that runs is told of once its parameters are known."""
        return super().is_known(attempt) and (attempt.state != TrialState.RUNNING or "hash" in attempt.user_attrs)

    def started(self, item: Slot, attempt: FrozenTrial, worker: str) -> None:
        say(f"{title(item)}: {parameters(attempt.params, item.cell.space)}, by {worker}")

    def progressed(self, item: Slot, attempt: FrozenTrial) -> None:
        rewards = [*attempt.user_attrs.get("per_seed", {}).values()]
        if self.seeds.get(attempt._trial_id, 0) < len(rewards) < len(item.seeds):
            say(f"{title(item)}: seed {len(rewards)}/{len(item.seeds)}, reward {rewards[-1]:.4g}")
        self.seeds[attempt._trial_id] = len(rewards)

    def ended(self, item: Slot, attempt: FrozenTrial) -> None:
        state, bar = state_of(attempt), self.bars[item.study]
        self.progress.advance(bar, state in ENDS)
        if state == "complete" and is_feasible(attempt):
            self.best[item.study] = max(self.best.get(item.study, attempt.values[0]), attempt.values[0])
        over = f"{self.progress.tasks[bar].completed}/{self.progress.tasks[bar].total}"
        say(f"{title(item)}: {self.outcome(item, attempt)} ({over} trials)")

    def outcome(self, item: Slot, attempt: FrozenTrial) -> str:
        state, reason = state_of(attempt), attempt.user_attrs.get("reason")
        if state == "complete":
            broken = "" if is_feasible(attempt) else ", breaks a constraint"
            best = f", best {self.best[item.study]:.4g}" if item.study in self.best else ""
            return f"reward {attempt.values[0]:.4g}{broken}{best}"
        told = "interrupted, resumes in another worker" if state == "waiting" else state
        return f"{told}: {reason}" if reason else told


class Quiet:
    """Says nothing of the runs of a trial, since the trial's own lines do."""

    def started(self, run: PlannedRun, worker: str) -> None: ...

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None: ...

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None: ...


def title(slot: Slot) -> str:
    return f"{slot.cell.name}, trial {slot.number}"


def parameters(params: Mapping[str, Any], space: Space) -> str:
    """Parameters in one line, the algorithm's own without their prefix."""
    return ", ".join(f"{key.removeprefix('algorithm.')} {space[key].text(value)}" for key, value in params.items())
