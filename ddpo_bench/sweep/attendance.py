"""When each worker of a sweep was there, as its book tells."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optuna.trial import FrozenTrial

from ddpo_bench.sweep.book import is_book_of
from ddpo_bench.sweep.storage import open_existing


@dataclass(frozen=True)
class Shift:
    """One worker process.

    Attributes:
        folders: of the runs that it worked on, below the suite's results folder.
        start: seconds from its birth to its first claim; 0 where the book does not tell.
        seconds: from its birth to the end of its last run.
    """

    folders: frozenset[str]
    start: float
    seconds: float


def shifts(suite: str, root: Path, storage: str | None = None) -> list[Shift]:
    """The workers of a suite; none where there is no book.

    Args:
        storage: URL of the database that holds the book; None is the journal in `root`.
    Raises:
        StorageError: where the book cannot be read.
    """
    book = open_existing(storage, root)
    if book is None:
        return []
    workers: dict[tuple[str, ...], list[FrozenTrial]] = defaultdict(list)
    for study in book.get_all_studies():
        if is_book_of(study.study_name, suite):
            for trial in book.get_all_trials(study._study_id, deepcopy=False):
                if worker := trial.user_attrs.get("worker"):
                    workers[tuple(str(worker[key]) for key in ("host", "space", "pid", "born"))].append(trial)
    return [shift(trials, root) for trials in workers.values()]


def shift(trials: list[FrozenTrial], root: Path) -> Shift:
    begun = {trial.datetime_start: trial for trial in trials if trial.datetime_start}
    first = min(begun)
    start = float(begun[first].user_attrs["worker"].get("age") or 0.0)
    last = max(end_of(trial, root) for trial in begun.values())
    folders = frozenset(trial.user_attrs["folder"] for trial in trials)
    return Shift(folders, start, start + (last - first).total_seconds())


def end_of(trial: FrozenTrial, root: Path) -> datetime:
    """When an attempt ended; of one that has not, or whose worker died unseen, when its run last wrote its status."""
    assert trial.datetime_start
    if trial.datetime_complete:
        return trial.datetime_complete
    status = root / trial.user_attrs["folder"] / "status.json"
    written = datetime.fromtimestamp(status.stat().st_mtime) if status.exists() else trial.datetime_start
    return max(trial.datetime_start, written)
