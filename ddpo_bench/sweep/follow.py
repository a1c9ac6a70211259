"""Follows a run queue, whoever works on it, and tells a display what happens to the runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol

from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.run_folder.metrics import is_evaluation, read_rows
from ddpo_bench.sweep.lease import news_of
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.queue_item import T, end_of, worker_of
from ddpo_bench.sweep.run_queue import RunQueue
from ddpo_bench.sweep.sweep_queue import QueuedRun, SweepQueue


class Watcher(Protocol):
    """What a display of a sweep must offer."""

    def started(self, run: PlannedRun, worker: str) -> None:
        """worker: host and process, as "host:pid"."""

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        """One row of the run's metrics.jsonl, or {"epoch", "sampled"} while an epoch is being sampled."""

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        """state: done, failed, or killed, after which the run resumes in another worker."""


class Follower(ABC, Generic[T]):
    """What has been told of each attempt; subclasses say to whom."""

    def __init__(self, queue: RunQueue[T]):
        self.queue = queue
        attempts = [attempt for several in queue.attempts().values() for attempt in several]
        self.over = {attempt._trial_id for attempt in attempts if attempt.state.is_finished()}
        self.begun: set[int] = set()

    def poll(self) -> None:
        """Tell what has happened since the last call."""
        for item, attempts in self.queue.attempts().items():
            for attempt in attempts:
                if attempt._trial_id not in self.over and self.is_known(attempt):
                    self.follow(item, attempt)

    def is_known(self, attempt: FrozenTrial) -> bool:
        """Whether enough is known of it to be told; one that was closed without work never is."""
        return bool(worker_of(attempt))

    def follow(self, item: T, attempt: FrozenTrial) -> None:
        if attempt._trial_id not in self.begun:
            self.begun.add(attempt._trial_id)
            worker = worker_of(attempt)
            self.started(item, attempt, f"{worker['host']}:{worker['pid']}")
        self.progressed(item, attempt)
        if attempt.state.is_finished():
            self.over.add(attempt._trial_id)
            self.ended(item, attempt)

    @abstractmethod
    def started(self, item: T, attempt: FrozenTrial, worker: str) -> None:
        """worker: as of `Watcher.started`."""

    @abstractmethod
    def progressed(self, item: T, attempt: FrozenTrial) -> None:
        """It may have progressed since it was last seen."""

    @abstractmethod
    def ended(self, item: T, attempt: FrozenTrial) -> None:
        """It has ended."""


class SweepFollower(Follower[QueuedRun]):
    """Tells a watcher of runs, of whose epochs the run folders know."""

    def __init__(self, queue: SweepQueue, watcher: Watcher):
        super().__init__(queue)
        self.watcher = watcher
        self.epochs = {item.name: item.epochs_done() for item in queue.items}

    def started(self, item: QueuedRun, attempt: FrozenTrial, worker: str) -> None:
        self.watcher.started(item.run, worker)

    def progressed(self, item: QueuedRun, attempt: FrozenTrial) -> None:
        epoch = item.epochs_done()
        told = min(self.epochs[item.name], epoch)  # of a run whose folder was deleted, which begins anew
        for row in read_rows(item.folder) if epoch > told else ():
            if not is_evaluation(row) and row["epoch"] > told:
                self.watcher.row(item.run, row)
        self.epochs[item.name] = epoch
        if attempt.state == TrialState.RUNNING and (news := news_of(item.folder)):
            self.watcher.row(item.run, news)

    def ended(self, item: QueuedRun, attempt: FrozenTrial) -> None:
        end = end_of(attempt)
        self.watcher.ended(item.run, end if end in ("done", "failed") else "killed", attempt.user_attrs.get("reason"))
