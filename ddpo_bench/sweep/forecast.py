"""Time left of a sweep, as whoever watches it hears of its epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ddpo_bench.sweep.estimate import RunProgress, seconds_left
from ddpo_bench.sweep.plan import PlannedRun


@dataclass
class ObservedRun:
    """What is known of a run.

    Attributes:
        reached: the last epoch that was finished.
        measured: of them since we listen, which took `seconds`.
        mark: when the last epoch, or else the attempt, began; None where nobody works on the run.
        over: whether it is done or failed.
    """

    cell: str
    epochs: int
    reached: int = 0
    measured: int = 0
    seconds: float = 0.0
    mark: float | None = None
    over: bool = False

    @property
    def epoch(self) -> int:
        """Of its epochs those that are not to be waited for."""
        return self.epochs if self.over else self.reached

    def progress(self, now: float) -> RunProgress:
        """An attempt that went on from a checkpoint is taken to have been as quick before."""
        pace = self.seconds / self.measured if self.measured else 0.0
        since = 0.0 if self.mark is None else now - self.mark
        return RunProgress(self.cell, self.epoch, self.epochs, pace * self.epoch, since)


IDLE_SECONDS = 60.0  # after which a worker that has begun no other run is taken to have left


class Forecast:
    """Of some runs, by a clock in seconds.

    A run's end is told before its worker begins the next run, or before another takes the place of one that died: such
    a worker still counts.
    """

    def __init__(self, runs: Sequence[PlannedRun], clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.runs = {run.folder: unobserved(run) for run in runs}
        self.idle: list[float] = []  # since when, oldest first

    def started(self, run: PlannedRun) -> None:
        """Also of a run that was failed before, which a command elsewhere runs again."""
        observed = self.runs.setdefault(run.folder, unobserved(run))
        observed.mark, observed.over = self.clock(), False
        self.idle = self.idle[1:]

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        """Of metrics.jsonl, where it ends an epoch, or {"epoch", "sampled"} within one."""
        observed, now = self.runs[run.folder], self.clock()
        if "queries" in row:
            observed.seconds += now - (now if observed.mark is None else observed.mark)
            observed.measured += 1
            observed.reached, observed.mark = row["epoch"], now
        elif "sampled" in row:  # a run that goes on from a checkpoint shows here how far it was
            observed.reached = max(observed.reached, row["epoch"] - 1)

    def ended(self, run: PlannedRun, state: str) -> None:
        """state: done, failed or killed, after which the run goes on."""
        observed = self.runs[run.folder]
        if observed.mark is not None:
            self.idle.append(self.clock())
        observed.mark, observed.over = None, state != "killed"

    def seconds_left(self) -> float | None:
        """None while no epoch has been finished."""
        now = self.clock()
        at_work = [observed for observed in self.runs.values() if observed.mark is not None]
        others = [observed for observed in self.runs.values() if observed.mark is None]
        idle = [since for since in self.idle if now - since < IDLE_SECONDS]
        return seconds_left([observed.progress(now) for observed in [*at_work, *others]], len(at_work) + len(idle))


def unobserved(run: PlannedRun) -> ObservedRun:
    return ObservedRun(str(run.folder.parent), run.config.epochs)
