"""Follows a suite's tuning by its studies, whoever works on it, and tells a watcher."""

from __future__ import annotations

from typing import Protocol

from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.tuning.studies import Studies, is_broken_off


class TuningWatcher(Protocol):
    """Is told what happens to the trials."""

    def started(self, cell: str, trial: FrozenTrial, worker: str) -> None:
        """worker: host and process, as "host:pid"."""

    def judged(self, cell: str, trial: FrozenTrial) -> None:
        """One more seed of it is done."""

    def ended(self, cell: str, trial: FrozenTrial) -> None:
        """It is complete, pruned or failed, or goes on in another worker."""


class TuningFollower:
    """What has been told of each trial."""

    def __init__(self, studies: Studies, watcher: TuningWatcher):
        self.studies = studies
        self.watcher = watcher
        self.seeds: dict[tuple[str, int], int] = {}  # study and number of a trial that was told of, to seeds judged
        self.over = {
            (name, trial.number)
            for name in studies.studies
            for trial in studies.latest(name).values()
            if trial.state.is_finished()
        }

    def look(self) -> None:
        """Tell what has happened since the last look."""
        for name, cell in self.studies.cells.items():
            for trials in self.studies.slots(name).values():
                for trial in trials:
                    if (name, trial.number) not in self.over and "worker" in trial.user_attrs:
                        self.follow(name, cell.name, trial)

    def follow(self, name: str, cell: str, trial: FrozenTrial) -> None:
        key, worker = (name, trial.number), trial.user_attrs["worker"]
        if "hash" not in trial.user_attrs and trial.state == TrialState.RUNNING:
            return  # its parameters are not known yet
        if key not in self.seeds:
            self.seeds[key] = 0
            self.watcher.started(cell, trial, f"{worker['host']}:{worker['pid']}")
        if (seeds := len(trial.user_attrs.get("per_seed", {}))) > self.seeds[key]:
            self.seeds[key] = seeds
            self.watcher.judged(cell, trial)
        if trial.state.is_finished():
            self.over.add(key)
            self.watcher.ended(cell, trial)


def state_of(trial: FrozenTrial) -> str:
    """waiting, running, complete, pruned or failed; a trial that was broken off waits for another worker."""
    if is_broken_off(trial):
        return "waiting"
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial met its constraints."""
    return all(value <= 0 for value in trial.constraints.values())
