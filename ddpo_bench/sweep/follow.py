"""Follows a sweep by its book and its run folders, whoever works on it, and tells a watcher."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.run_folder.metrics import is_evaluation, read_rows
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.book import Book
from ddpo_bench.sweep.lease import news_of
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.watcher import Watcher


class Follower:
    """What has been told of each run."""

    def __init__(self, book: Book, watcher: Watcher):
        self.book = book
        self.watcher = watcher
        trials = [trial for several in book.trials().values() for trial in several]
        self.over = {trial.number for trial in trials if trial.state.is_finished()}
        self.at_work: dict[str, int] = {}  # folder to the number of the trial that was last seen running
        self.epochs = {folder: self.last_epoch(folder) for folder in book.runs}

    def look(self) -> None:
        """Tell what has happened since the last look."""
        for folder, trials in self.book.trials().items():
            for trial in trials:
                if trial.number not in self.over and trial.state != TrialState.WAITING:
                    self.follow(folder, trial)

    def follow(self, folder: str, trial: FrozenTrial) -> None:
        run, worker = self.book.runs[folder], trial.user_attrs.get("worker")
        if worker is None:  # just claimed, or closed without work
            self.over |= {trial.number} if trial.state.is_finished() else set()
            return
        if self.at_work.get(folder) != trial.number:
            self.at_work[folder] = trial.number
            self.watcher.started(run, f"{worker['host']}:{worker['pid']}")
        self.tell_rows(folder, run)
        if trial.state == TrialState.RUNNING:
            if news := news_of(self.book.root / folder):
                self.watcher.row(run, news)
            return
        self.over.add(trial.number)
        end = trial.user_attrs.get("end")
        self.watcher.ended(run, end if end in ("done", "failed") else "killed", trial.user_attrs.get("reason"))

    def tell_rows(self, folder: str, run: PlannedRun) -> None:
        epoch = self.last_epoch(folder)
        self.epochs[folder] = min(self.epochs[folder], epoch)  # of a run whose folder was deleted, which begins anew
        if epoch > self.epochs[folder]:
            for row in read_rows(self.book.root / folder):
                if not is_evaluation(row) and row["epoch"] > self.epochs[folder]:
                    self.watcher.row(run, row)
            self.epochs[folder] = epoch

    def last_epoch(self, folder: str) -> int:
        return int(read_status(self.book.root / folder).get("epoch", 0))
