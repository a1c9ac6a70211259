"""The trials of a suite's tuning as items of a run queue: one Optuna study a cell, with a fixed number of slots.

A slot stands for one trial, so that the budget is kept exactly by any number of workers.  When a worker dies, its slot
gets another trial with the same parameters, whose runs resume from their checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.config import Resources
from ddpo_bench.run_folder.places import run_folder
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.queue_item import Claim, Item, was_broken_off
from ddpo_bench.sweep.run_queue import RunQueue
from ddpo_bench.sweep.search_space import value_at
from ddpo_bench.sweep.storage import open_storage
from ddpo_bench.sweep.suite import Cell, Suite
from ddpo_bench.sweep.tune_block import Tune
from ddpo_bench.tuning.searching import as_parameters, make_pruner, make_sampler

FOLDER = "tuning"  # below results/<suite>
DIRECTIONS = {"reward": StudyDirection.MAXIMIZE, "kl": StudyDirection.MINIMIZE}


@dataclass(frozen=True, eq=False)
class Slot(Item):
    """A trial of a cell: its number, and the seeds on which it is judged."""

    cell: Cell
    number: int
    seeds: Sequence[int]
    root: Path

    @property
    def resources(self) -> Resources:
        return self.cell.config.resources

    def enter(self, study: optuna.Study, before: Sequence[FrozenTrial], done: bool = False) -> None:
        """With the parameters of the trial before, as far as it had drawn them; the sampler draws the others."""
        given = before[-1].user_attrs.get("given", {}) | before[-1].params if before else self.first()
        study.enqueue_trial(given, user_attrs={"item": self.name, "given": given})

    def first(self) -> dict[str, Any]:
        """Slot 0 tries the cell's own settings, as far as they lie in its space."""
        space = self.cell.space if self.number == 0 else {}
        own = {key: value_at(self.cell.config, key) for key in space}
        return as_parameters({key: value for key, value in own.items() if space[key].holds(value)}, space)

    def is_settled_by(self, attempt: FrozenTrial) -> bool:
        return attempt.state.is_finished() and not was_broken_off(attempt)

    def run_folders(self, trial: FrozenTrial) -> list[Path]:
        """Of its runs; none before its parameters are known."""
        identity = trial.user_attrs.get("hash")
        return [self.root / run_folder(self.cell.name, identity, seed) for seed in self.seeds] if identity else []

    def epochs_done(self, attempt: FrozenTrial) -> int:
        """Over all seeds."""
        return sum(read_status(folder).get("epoch", 0) for folder in self.run_folders(attempt))

    def give_up(self, reason: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # where the heartbeat was


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


class Studies(RunQueue[Slot]):
    """The studies of a suite, which advance together: slot 0 of each comes before slot 1 of any.

    A trial carries the parameters that it was "given" and, once it runs, the "hash" of its configuration and the
    rewards of its seeds so far, "per_seed".
    """

    def __init__(self, place: TuningPlace):
        assert place.suite.tune is not None
        self.suite, self.root = place.suite, place.root
        self.tune: Tune = place.suite.tune
        self.cells = {study_name(self.suite, cell): cell for cell in self.suite.cells if cell.space}
        slots = [self.slot(name, number) for number in range(self.tune.trials) for name in self.cells]
        directions = [DIRECTIONS[objective] for objective in self.tune.objectives]
        super().__init__(open_storage(place.storage, place.root), slots, dict.fromkeys(self.cells, directions))

    def slot(self, study: str, number: int) -> Slot:
        name = f"trial-{number}"
        folder = self.root / FOLDER / f"{study}-{name}"
        return Slot(study, name, folder, self.cells[study], number, self.tune.seeds, self.root)

    def latest(self, study: str) -> dict[Slot, FrozenTrial]:
        """The newest trial of every slot that has one."""
        return {slot: trials[-1] for slot, trials in self.attempts().items() if slot.study == study and trials}

    def with_sampler(self, claim: Claim[Slot]) -> optuna.Study:
        """The study as one trial needs it: with its slot's sampler, and nothing cached of what it was before."""
        slot = claim.item
        sampler, pruner = make_sampler(self.tune, slot.number), make_pruner(self.tune, slot.cell.config.epochs)
        return optuna.load_study(study_name=slot.study, storage=self.storage, sampler=sampler, pruner=pruner)


def study_name(suite: Suite, cell: Cell) -> str:
    """A name that tells studies apart that do not search the same space for the same objectives."""
    assert suite.tune is not None
    space = {key: dimension.to_dict() for key, dimension in cell.space.items()}
    what = [cell.hash, space, suite.tune.seeds, suite.tune.objectives, suite.tune.constraints, suite.tune.pruner]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"{suite.name}-tune-{cell.name}-{digest}"


def state_of(trial: FrozenTrial) -> str:
    """waiting, running, complete, pruned or failed; a trial that was broken off waits for another worker."""
    if was_broken_off(trial):
        return "waiting"
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial met its constraints."""
    return all(value <= 0 for value in trial.constraints.values())
