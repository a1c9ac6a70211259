"""When each worker process of a sweep worked, as the run queue tells."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optuna.trial import FrozenTrial

from ddpo_bench.sweep.queue_item import worker_of
from ddpo_bench.sweep.sweep_queue import stored_attempts


@dataclass(frozen=True)
class WorkerProcess:
    """One of them.

    Attributes:
        folders: of the runs that it worked on, below the suite's results folder.
        start: seconds from the start of the process to its first claim; 0 where that is not known.
        seconds: from the start of the process to the end of its last run.
    """

    folders: frozenset[str]
    start: float
    seconds: float


def worker_processes(suite: str, root: Path, storage: str | None = None) -> list[WorkerProcess]:
    """Those of a suite; arguments and errors as of `stored_attempts`."""
    workers: dict[tuple[str, ...], list[FrozenTrial]] = defaultdict(list)
    for attempt in stored_attempts(suite, root, storage):
        if worker := worker_of(attempt):
            workers[tuple(str(worker[key]) for key in ("host", "space", "pid", "born"))].append(attempt)
    return [process_of(attempts, root) for attempts in workers.values()]


def process_of(attempts: list[FrozenTrial], root: Path) -> WorkerProcess:
    begun = {attempt.datetime_start: attempt for attempt in attempts if attempt.datetime_start}
    first = min(begun)
    start = float(worker_of(begun[first]).get("age") or 0.0)
    last = max(end_time(attempt, root) for attempt in begun.values())
    folders = frozenset(attempt.user_attrs["item"] for attempt in attempts)
    return WorkerProcess(folders, start, start + (last - first).total_seconds())


def end_time(attempt: FrozenTrial, root: Path) -> datetime:
    """When an attempt ended; of one that has not, or whose worker died unseen, when its run last wrote its status."""
    assert attempt.datetime_start
    if attempt.datetime_complete:
        return attempt.datetime_complete
    status = root / attempt.user_attrs["item"] / "status.json"
    written = datetime.fromtimestamp(status.stat().st_mtime) if status.exists() else attempt.datetime_start
    return max(attempt.datetime_start, written)
