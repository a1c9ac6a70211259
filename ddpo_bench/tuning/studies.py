"""The studies of a suite's tuning: one Optuna study a cell, with a fixed number of slots for trials.

A slot is entered as a waiting trial and claimed by the storage's compare-and-set, so that the budget is kept exactly by
any number of workers.  A worker that dies leaves its trial failed; the slot gets another one with the same parameters,
whose runs go on from their checkpoints.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.run_folder.places import run_folder
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.book import ACTIVE, BROKEN_OFF, DEATHS
from ddpo_bench.sweep.lease import is_alive, show, this_process
from ddpo_bench.sweep.search_space import value_at
from ddpo_bench.sweep.storage import open_storage
from ddpo_bench.sweep.suite import Cell, Suite
from ddpo_bench.sweep.tune_block import Tune
from ddpo_bench.tuning.searching import as_parameters, make_pruner, make_sampler

FOLDER = "tuning"  # below results/<suite>
DIRECTIONS = {"reward": StudyDirection.MAXIMIZE, "kl": StudyDirection.MINIMIZE}


@dataclass(frozen=True)
class TuningPlace:
    """What a process needs to open the studies of a suite that has a `tune:` block.

    Attributes:
        storage: URL of a database, or None for the journal in `root`.
        root: results/<suite>.
    """

    storage: str | None
    suite: Suite
    root: Path

    def open(self) -> Studies:
        return Studies(self)


@dataclass(frozen=True)
class Claim:
    """The right to try a configuration of a cell."""

    study: str
    cell: Cell
    slot: int
    trial_id: int


class Studies:
    """Who tries what.

    A trial carries its "slot", the parameters that it was "given", its "worker", its configuration's "hash", and what
    became of it: "end" is done, pruned, failed, died, interrupted or duplicate, with a "reason".
    """

    def __init__(self, place: TuningPlace):
        assert place.suite.tune is not None
        self.suite, self.root = place.suite, place.root
        self.tune: Tune = place.suite.tune
        self.storage = open_storage(place.storage, place.root)
        self.cells = {study_name(self.suite, cell): cell for cell in self.suite.cells if cell.space}
        self.studies = {name: self.make(name) for name in self.cells}

    def make(self, name: str) -> optuna.Study:
        return optuna.create_study(
            storage=self.storage,
            study_name=name,
            directions=[DIRECTIONS[objective] for objective in self.tune.objectives],
            load_if_exists=True,
        )

    def fresh(self, claim: Claim) -> optuna.Study:
        """The study as one trial needs it: with the slot's sampler, and no memory of what it looked like before."""
        sampler, pruner = make_sampler(self.tune, claim.slot), make_pruner(self.tune, claim.cell.config.epochs)
        return optuna.load_study(study_name=claim.study, storage=self.storage, sampler=sampler, pruner=pruner)

    def enter(self) -> None:
        """Fill the slots that are still empty; the first one tries the cell's own settings."""
        for name, cell in self.cells.items():
            own = {key: value_at(cell.config, key) for key in cell.space}
            own = {key: value for key, value in own.items() if cell.space[key].holds(value)}
            entered = self.slots(name)
            for slot in range(self.tune.trials):
                if slot not in entered:
                    first = as_parameters(own, cell.space) if slot == 0 else {}
                    self.fill(name, slot, first)

    def slots(self, name: str) -> dict[int, list[FrozenTrial]]:
        """The trials of every slot within the budget, oldest first, without duplicates."""
        found: dict[int, list[FrozenTrial]] = defaultdict(list)
        for trial in self.studies[name].get_trials(deepcopy=False):
            slot = trial.user_attrs.get("slot", self.tune.trials)
            if slot < self.tune.trials and trial.user_attrs.get("end") != "duplicate":
                found[slot].append(trial)
        return found

    def latest(self, name: str) -> dict[int, FrozenTrial]:
        """How every slot stands: its newest trial."""
        return {slot: trials[-1] for slot, trials in sorted(self.slots(name).items())}

    def claim(self) -> Claim | None:
        """The next trial that waits, of the study that is least advanced; None where none waits."""
        for name in sorted(self.studies, key=self.begun):
            for slot, trial in self.latest(name).items():
                if trial.state == TrialState.WAITING and (claim := self.take(name, slot, trial)):
                    return claim
        return None

    def begun(self, name: str) -> int:
        return sum(trial.state != TrialState.WAITING for trial in self.latest(name).values())

    def take(self, name: str, slot: int, trial: FrozenTrial) -> Claim | None:
        claim = Claim(name, self.cells[name], slot, trial._trial_id)
        try:
            if not self.storage.set_trial_state_values(claim.trial_id, TrialState.RUNNING):
                return None
            if is_duplicate(trial, self.slots(name)[slot]):
                self.close_duplicate(claim)
                return None
            with suppress(OSError):  # where the disk is full, trying says so
                show(self.folder(name, slot), {})  # first, so that nobody judges a worker by its own clock
            self.storage.set_trial_user_attr(claim.trial_id, "worker", this_process())
        except UpdateFinishedTrialError:  # somebody else took it, or took us for dead before we signed
            return None
        return claim

    def close_duplicate(self, claim: Claim) -> None:
        self.close(claim, "duplicate", "the slot was entered twice")

    def still_ours(self, claim: Claim) -> bool:
        return self.storage.get_trial(claim.trial_id).state == TrialState.RUNNING

    def close(self, claim: Claim, end: str, reason: str | None, values: list[float] | None = None) -> bool:
        """End a trial; False where somebody else has ended it already.

        Args:
            end: "done" with its values; "pruned", maybe with one; anything else counts as failed.
        """
        states = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        try:
            self.storage.set_trial_user_attr(claim.trial_id, "end", end)
            self.storage.set_trial_user_attr(claim.trial_id, "reason", reason)
            self.storage.set_trial_state_values(claim.trial_id, states.get(end, TrialState.FAIL), values)
        except UpdateFinishedTrialError:
            return False
        return True

    def recover(self) -> None:
        """Close the trials of dead workers, and enter again what was broken off."""
        for name in self.studies:
            for slot, trials in self.slots(name).items():
                last = trials[-1]
                if last.state == TrialState.RUNNING and self.is_dead(name, slot, last):
                    self.bury(name, slot, trials)
                elif is_broken_off(last):
                    self.enter_again(name, slot, last)

    def is_dead(self, name: str, slot: int, trial: FrozenTrial) -> bool:
        claimed = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return not is_alive(trial.user_attrs.get("worker", {}), self.folder(name, slot), claimed)

    def bury(self, name: str, slot: int, trials: list[FrozenTrial]) -> None:
        """Close a dead worker's trial; the slot is failed where several died without finishing an epoch."""
        trial = trials[-1]
        claim = Claim(name, self.cells[name], slot, trial._trial_id)
        if is_duplicate(trial, trials):
            self.close_duplicate(claim)
            return
        epochs = self.epochs_done(name, trial)
        deaths = 1 + sum(other.user_attrs.get("died_after") == epochs for other in trials[:-1])
        try:
            self.storage.set_trial_user_attr(claim.trial_id, "died_after", epochs)
        except UpdateFinishedTrialError:
            return
        if deaths >= DEATHS:
            self.close(claim, "failed", f"{DEATHS} workers died at one epoch")
        elif self.close(claim, "died", "its worker died"):
            self.enter_again(name, slot, trial)

    def enter_again(self, name: str, slot: int, trial: FrozenTrial) -> None:
        self.fill(name, slot, trial.user_attrs.get("given", {}) | trial.params)

    def fill(self, name: str, slot: int, given: dict[str, Any]) -> None:
        """Enter a trial with parameters that are given; the sampler draws the others once it is claimed."""
        self.studies[name].enqueue_trial(given, user_attrs={"slot": slot, "given": given})

    def epochs_done(self, name: str, trial: FrozenTrial) -> int:
        """Over all seeds of a trial."""
        identity = trial.user_attrs.get("hash")
        if identity is None:
            return 0
        folders = [self.root / run_folder(self.cells[name].name, identity, seed) for seed in self.tune.seeds]
        return sum(read_status(folder).get("epoch", 0) for folder in folders)

    def folder(self, name: str, slot: int) -> Path:
        """Where the holder of a trial shows that it lives."""
        return self.root / FOLDER / f"{name}-trial-{slot}"

    def settled(self) -> bool:
        """Whether every trial has come to its end."""
        trials = [trial for name in self.studies for trial in self.latest(name).values()]
        return all(trial.state.is_finished() and not is_broken_off(trial) for trial in trials)

    def has_claimed(self, pid: int | None) -> bool:
        """Whether a process of this number was ever given a trial."""
        trials = [trial for study in self.studies.values() for trial in study.get_trials(deepcopy=False)]
        return any(trial.user_attrs.get("worker", {}).get("pid") == pid for trial in trials)


def is_broken_off(trial: FrozenTrial) -> bool:
    return trial.state not in ACTIVE and trial.user_attrs.get("end") in BROKEN_OFF


def is_duplicate(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Whether an older trial of the slot counts: two workers that see the same death both fill the slot again."""
    return any(not is_broken_off(other) for other in trials if other.number < trial.number)


def study_name(suite: Suite, cell: Cell) -> str:
    """A name that tells studies apart that do not search the same space for the same figure."""
    assert suite.tune is not None
    space = {key: dimension.to_dict() for key, dimension in cell.space.items()}
    what = [cell.hash, space, suite.tune.seeds, suite.tune.objectives, suite.tune.constraints, suite.tune.pruner]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"{suite.name}-tune-{cell.name}-{digest}"
