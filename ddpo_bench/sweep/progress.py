"""How far the runs of a sweep are: counts, and the time left, from how quickly epochs came since they were watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ddpo_bench.sweep.plan import PlannedRun


@dataclass
class WatchedRun:
    """What is known of a run.

    Attributes:
        epochs, reached: planned epochs, and the last one that was finished.
        end: done or failed, where it is over.
    """

    epochs: int
    reached: int = 0
    end: str | None = None

    @property
    def epoch(self) -> int:
        """Of its epochs those that are not to be waited for."""
        return self.epochs if self.end else self.reached


class Progress:
    """Of some runs, whoever works on them, by a clock in seconds."""

    def __init__(self, runs: Sequence[PlannedRun], done_before: int = 0, clock: Callable[[], float] = time.monotonic):
        """Start counting.

        Args:
            runs: the runs to do now.
            done_before: number of runs that were done before.
        """
        self.clock = clock
        self.done_before = done_before
        self.runs = {run.folder: WatchedRun(run.config.epochs) for run in runs}
        self.finished = 0  # epochs since we watch
        self.began: float | None = None
        self.latest = 0.0  # when the last epoch was finished

    def __str__(self) -> str:
        done = self.done_before + self.count("done")
        failed = self.count("failed")
        return f"{done}/{self.done_before + len(self.runs)} runs done" + (f", {failed} failed" if failed else "")

    def count(self, end: str | None) -> int:
        return sum(run.end == end for run in self.runs.values())

    def with_running(self, running: int) -> str:
        left = self.count(None) - running
        return f"{self}, {running} running" + (f", {left} left" if left else "")

    def started(self, run: PlannedRun) -> None:
        """Also of a run that was failed before, which a command elsewhere runs again."""
        self.runs.setdefault(run.folder, WatchedRun(run.config.epochs)).end = None
        self.began = self.clock() if self.began is None else self.began

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        """Of metrics.jsonl, where it ends an epoch, or {"epoch", "sampled"} within one."""
        watched = self.runs[run.folder]
        if "queries" in row:
            self.finished, self.latest, watched.reached = self.finished + 1, self.clock(), row["epoch"]
        elif "sampled" in row:  # a run that resumes from a checkpoint shows here how far it was
            watched.reached = max(watched.reached, row["epoch"] - 1)

    def ended(self, run: PlannedRun, state: str) -> None:
        """state: done, failed or killed, after which the run resumes."""
        self.runs[run.folder].end = None if state == "killed" else state

    def seconds_left(self) -> float | None:
        """None while no epoch has been finished."""
        if not self.finished or self.began is None:
            return None
        pace = (self.latest - self.began) / self.finished
        left = sum(run.epochs - run.epoch for run in self.runs.values())
        return max(0.0, left * pace - (self.clock() - self.latest))
