"""The book of a sweep: an Optuna study in which every attempt at a run is a trial.

The study says who does what; the run folders say what came out.  A claim is the storage's own compare-and-set of a
trial from WAITING to RUNNING, so that any number of workers on any number of hosts share one book.  A worker that dies
leaves its trial failed, and the run gets another one, which goes on from the run's checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.run_folder.metrics import final_reward, learning_curve
from ddpo_bench.run_folder.status import mark, read_status
from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS, is_alive, is_held, is_here, show, this_process
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.storage import open_storage

DEATHS = 5  # workers that may die at one epoch of a run before it counts as failed
ACTIVE = (TrialState.WAITING, TrialState.RUNNING)
BROKEN_OFF = ("died", "interrupted")  # ends after which a run goes on


def book_name(suite: str, matrix: Mapping[str, Sequence[Any]]) -> str:
    """Of the study that is a suite's book; it tells matrices apart, since the categories of a study are fixed."""
    digest = hashlib.sha256(json.dumps(matrix, sort_keys=True).encode()).hexdigest()
    return f"{suite}-{digest[:8]}"


def is_book_of(study: str, suite: str) -> bool:
    """Whether a study of this name is a book of the suite, with any matrix."""
    return re.fullmatch(rf"{re.escape(suite)}-[0-9a-f]{{8}}", study) is not None


@dataclass(frozen=True)
class BookPlace:
    """What a process needs to open a sweep's book.

    Attributes:
        storage: URL of a database, or None for the journal in `root`.
        name: of the study.
        choices: the values of every swept key.
        runs: those that may be entered and claimed.
        root: results/<suite>.
    """

    storage: str | None
    name: str
    choices: Mapping[str, Sequence[str]]
    runs: Sequence[PlannedRun]
    root: Path

    def open(self) -> Book:
        return Book(self)


@dataclass(frozen=True)
class Claim:
    """The right to work on a run."""

    run: PlannedRun
    trial_id: int


class Book:
    """The trials of some planned runs of one suite.

    A trial carries its run's folder, and what became of the attempt: "end" is done, failed, died, interrupted, stopped
    or duplicate, with a "reason"; of a dead worker's also "died_after", the epochs that were done.
    """

    def __init__(self, place: BookPlace):
        self.storage = open_storage(place.storage, place.root)
        self.study = optuna.create_study(
            storage=self.storage, study_name=place.name, direction="maximize", load_if_exists=True
        )
        self.study_id = self.storage.get_study_id_from_name(place.name)
        self.runs = {str(run.folder): run for run in place.runs}
        self.root = place.root
        self.distributions = {
            **{key: CategoricalDistribution(tuple(values)) for key, values in place.choices.items()},
            "seed": IntDistribution(0, 2**31 - 1),
        }

    def narrowed(self, runs: Sequence[PlannedRun]) -> Book:
        """The same book for other runs."""
        book = copy.copy(self)
        book.runs = {str(run.folder): run for run in runs}
        return book

    def trials(self) -> dict[str, list[FrozenTrial]]:
        """The trials of each of our runs, oldest first."""
        found: dict[str, list[FrozenTrial]] = defaultdict(list)
        for trial in self.storage.get_all_trials(self.study_id, deepcopy=False):
            found[trial.user_attrs.get("folder", "")].append(trial)
        return {folder: found[folder] for folder in self.runs}

    def enter(self, retry_failed: bool = False) -> None:
        """Write down what is to be done, and what was done before there was a book."""
        for folder, trials in self.trials().items():
            state = read_status(self.root / folder)["state"]
            if any(trial.state in ACTIVE for trial in trials):
                continue
            if state == "done":
                if not any(trial.state == TrialState.COMPLETE for trial in trials):
                    self.add(self.runs[folder], done=True)
            elif state != "failed" or retry_failed:
                self.add(self.runs[folder])

    def add(self, run: PlannedRun, done: bool = False) -> None:
        folder = self.root / run.folder
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if done else TrialState.WAITING,
                params={**run.parameters, "seed": run.config.seed},
                distributions=self.distributions,
                value=final_reward(folder, run.config.reward.label) if done else None,
                intermediate_values=learning_curve(folder),
                user_attrs={"folder": str(run.folder)},
            )
        )

    def claim(self) -> Claim | None:
        """The next run that waits, now ours alone; None where none waits."""
        for folder, trials in self.trials().items():
            for trial in trials:
                if trial.state != TrialState.WAITING or is_held(self.root / folder):  # by the book of another matrix
                    continue
                if claim := self.take(folder, trial):
                    return claim
        return None

    def take(self, folder: str, trial: FrozenTrial) -> Claim | None:
        claim = Claim(self.runs[folder], trial._trial_id)
        try:
            if not self.storage.set_trial_state_values(claim.trial_id, TrialState.RUNNING):
                return None
            if self.is_duplicate(folder, trial):
                self.close_duplicate(claim)
                return None
            if read_status(self.root / folder)["state"] == "done":
                self.complete(claim)
                return None
            with suppress(OSError):  # where the disk is full, training says so
                show(self.root / folder, {})  # first, so that nobody judges a worker by its own clock
            self.storage.set_trial_user_attr(claim.trial_id, "worker", this_process())
        except UpdateFinishedTrialError:  # somebody else took it, or took us for dead before we signed
            return None
        return claim

    def is_duplicate(self, folder: str, trial: FrozenTrial) -> bool:
        """Whether another entry of the run counts: an older one that waits or runs, or the one that was done.

        Two workers that see the same death each enter the run again, and one that dies here may leave a second entry
        running.  Since trials never become active again, no two of a run pass this and are completed.
        """
        others = [other for other in self.trials()[folder] if other.number != trial.number]
        if any(other.state in ACTIVE and other.number < trial.number for other in others):
            return True
        done = read_status(self.root / folder)["state"] == "done"
        return done and any(other.state == TrialState.COMPLETE for other in others)

    def close_duplicate(self, claim: Claim) -> bool:
        return self.close(claim, "duplicate", "the run was entered twice")

    def still_ours(self, claim: Claim) -> bool:
        return self.storage.get_trial(claim.trial_id).state == TrialState.RUNNING

    def report(self, claim: Claim, epoch: int, reward: float) -> None:
        """A point of the run's learning curve."""
        self.storage.set_trial_intermediate_value(claim.trial_id, epoch, reward)

    def complete(self, claim: Claim) -> bool:
        """The run is done: its value is the final reward, its cost a user attribute."""
        folder = self.root / claim.run.folder
        cost = {"seconds": read_status(folder).get("seconds"), "queries": claim.run.images}
        (folder / HEARTBEAT).unlink(missing_ok=True)  # of a worker that died after it
        return self.close(claim, "done", None, final_reward(folder, claim.run.config.reward.label), cost)

    def close(
        self,
        claim: Claim,
        end: str,
        reason: str | None,
        value: float | None = None,
        facts: Mapping[str, float | None] | None = None,
    ) -> bool:
        """End an attempt; False where somebody else has ended it already.

        Args:
            value: final reward of a run that is done.
            facts: more that is known of it.
        """
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        try:
            for name, fact in {"end": end, "reason": reason, **(facts or {})}.items():
                self.storage.set_trial_user_attr(claim.trial_id, name, fact)
            self.storage.set_trial_state_values(claim.trial_id, state, None if value is None else [value])
        except UpdateFinishedTrialError:
            return False
        return True

    def recover(self) -> None:
        """Close the attempts of dead workers, and enter again what was broken off."""
        for folder, trials in self.trials().items():
            if any(self.bury(folder, trial, trials) for trial in trials if self.is_dead(folder, trial)):
                trials = self.trials()[folder]
            told = [trial for trial in trials if trial.user_attrs.get("end") != "duplicate"]
            broken_off = told and told[-1].state.is_finished() and told[-1].user_attrs.get("end") in BROKEN_OFF
            if broken_off and read_status(self.root / folder)["state"] != "failed":
                self.add(self.runs[folder])

    def is_dead(self, folder: str, trial: FrozenTrial) -> bool:
        if trial.state != TrialState.RUNNING:
            return False
        claimed = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return not is_alive(trial.user_attrs.get("worker", {}), self.root / folder, claimed)

    def bury(self, folder: str, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """Close a dead worker's attempt; False where somebody else has done so.

        Only who closes it may touch the run's folder, and only where nobody can have begun the run again since.
        """
        claim = Claim(self.runs[folder], trial._trial_id)
        if self.is_duplicate(folder, trial):
            return self.close_duplicate(claim)
        status = read_status(self.root / folder)
        if status["state"] == "done":
            return self.complete(claim)
        if status["state"] == "failed":  # it died before it could say so
            return self.close(claim, "failed", status["reason"])
        epoch = status.get("epoch", 0)
        deaths = 1 + sum(other.user_attrs.get("died_after") == epoch for other in trials if other is not trial)
        if deaths < DEATHS:
            reason = f"{death(trial.user_attrs.get('worker', {}))} in epoch {epoch + 1}"
            return self.close(claim, "died", reason, facts={"died_after": epoch})
        reason = f"{DEATHS} workers died in epoch {epoch + 1}"
        closed = self.close(claim, "failed", reason)
        if closed:
            mark(self.root / folder, "failed", reason)
        return closed

    def settled(self) -> bool:
        """Whether nothing waits or runs."""
        return not any(trial.state in ACTIVE for trials in self.trials().values() for trial in trials)

    def has_claimed(self, pid: int | None) -> bool:
        """Whether a process of this number was ever given a run."""
        workers = [trial.user_attrs.get("worker", {}) for trials in self.trials().values() for trial in trials]
        return any(worker.get("pid") == pid for worker in workers)


def death(worker: dict[str, Any]) -> str:
    """What is known of it."""
    if not worker or is_here(worker):
        return "its worker died"
    return f"its worker on {worker.get('host')} showed no heartbeat for {LEASE_SECONDS:.0f} s"
