"""The run queue: Optuna studies in which workers claim runs, and trials of a tuning.

Every attempt at an item of the queue is an Optuna trial.  A claim is the storage's own compare-and-set of a trial from
WAITING to RUNNING, so that any number of workers on any number of hosts share one queue.  A worker that dies leaves its
trial failed, and the item gets another one, which resumes from what the first has left on disk.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS, is_alive, is_held, is_here, show, this_process

DEATHS = 5  # workers that may die at one epoch of an item before it counts as failed
ACTIVE = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, written down as user attributes of its trial.

    Attributes:
        end: done, failed, pruned, stopped, died, interrupted or duplicate.
        values: objectives of what is done; of what was pruned maybe none.
        facts: more that is known, by the names of the user attributes.
    """

    end: str
    reason: str | None = None
    values: Sequence[float] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> TrialState:
        if self.end == "pruned":
            return TrialState.PRUNED
        return TrialState.FAIL if self.values is None else TrialState.COMPLETE


DUPLICATE = Outcome("duplicate", "it was entered twice")
INTERRUPTED = Outcome("interrupted")
BROKEN_OFF = ("died", INTERRUPTED.end)  # after these an item is attempted again


@dataclass(frozen=True, eq=False)
class Item(ABC):
    """What is to be done once: a run, or a trial of a tuning.

    Attributes:
        study: name of the Optuna study that holds its attempts.
        name: tells it from the others of its study; in the user attribute "item" of its attempts.
        folder: where whoever works on it shows that they are alive.
    """

    study: str
    name: str
    folder: Path

    @abstractmethod
    def enter(self, study: optuna.Study, before: Sequence[FrozenTrial], done: bool = False) -> None:
        """Add an attempt that waits.

        Args:
            study: of this item.
            before: earlier attempts, oldest first.
            done: add one that is complete instead, of an item that was done before there was a queue.
        """

    @abstractmethod
    def is_settled_by(self, attempt: FrozenTrial) -> bool:
        """Whether an attempt that has ended leaves nothing to do."""

    @abstractmethod
    def epochs_done(self, attempt: FrozenTrial) -> int:
        """How far an attempt is, as the disk says."""

    def state(self) -> str:
        """What the disk says: done, failed, or anything else for an item that is still to do."""
        return "queued"

    def outcome(self) -> Outcome:
        """Of an item that is done or failed as the disk says."""
        raise NotImplementedError

    @abstractmethod
    def give_up(self, reason: str) -> None:
        """Write to the disk that it has failed, its workers having died again and again."""


T = TypeVar("T", bound=Item)


@dataclass(frozen=True)
class Claim(Generic[T]):
    """The right to work on an item."""

    item: T
    trial_id: int


class RunQueue(Generic[T]):
    """The attempts at some items."""

    def __init__(self, storage: BaseStorage, items: Sequence[T], studies: Mapping[str, Sequence[StudyDirection]]):
        """studies: name to directions of those that hold the items; made where they do not exist."""
        self.storage = storage
        self.items = list(items)
        self.studies = {
            name: optuna.create_study(storage=storage, study_name=name, directions=list(ways), load_if_exists=True)
            for name, ways in studies.items()
        }

    def restricted_to(self, items: Sequence[T]) -> Self:
        """The same queue for other items of the same studies."""
        queue = copy.copy(self)
        queue.items = list(items)
        return queue

    def attempts(self) -> dict[T, list[FrozenTrial]]:
        """The attempts at each of our items, oldest first, without duplicates that have been closed."""
        found: dict[tuple[str, str], list[FrozenTrial]] = defaultdict(list)
        for name in {item.study for item in self.items}:
            for trial in self.studies[name].get_trials(deepcopy=False):
                if not (trial.state.is_finished() and end_of(trial) == DUPLICATE.end):
                    found[name, trial.user_attrs.get("item", "")].append(trial)
        return {item: found[item.study, item.name] for item in self.items}

    def enter(self, retry_failed: bool = False) -> None:
        """Write down what is to be done, and what was done before there was a queue."""
        for item, attempts in self.attempts().items():
            if any(attempt.state in ACTIVE or item.is_settled_by(attempt) for attempt in attempts):
                continue
            state = item.state()
            if state != "failed" or retry_failed:
                item.enter(self.studies[item.study], attempts, done=state == "done")

    def claim(self) -> Claim[T] | None:
        """The next item that waits, now ours alone; None where none waits."""
        for item, attempts in self.attempts().items():
            for attempt in attempts:
                if attempt.state != TrialState.WAITING or is_held(item.folder):  # by a queue of another matrix
                    continue
                if claim := self.take(item, attempt):
                    return claim
        return None

    def take(self, item: T, attempt: FrozenTrial) -> Claim[T] | None:
        claim = Claim(item, attempt._trial_id)
        try:
            if not self.storage.set_trial_state_values(claim.trial_id, TrialState.RUNNING):
                return None
            if self.is_duplicate(item, attempt):
                self.close(claim, DUPLICATE)
                return None
            if item.state() == "done":
                self.close_as_found(claim)
                return None
            with suppress(OSError):  # where the disk is full, the work itself says so
                show(item.folder, {})  # first, so that nobody judges a worker by its own clock
            self.storage.set_trial_user_attr(claim.trial_id, "worker", this_process())
        except UpdateFinishedTrialError:  # somebody else took it, or took us for dead before we signed
            return None
        return claim

    def is_duplicate(self, item: T, attempt: FrozenTrial) -> bool:
        """Whether another attempt counts: an older one that waits or runs, or the one that settled the item.

        Two workers that see the same death each enter the item again, and one that dies here may leave a second entry
        running.  Since trials never become active again, no two of an item pass this and are completed.
        """
        others = [other for other in self.attempts()[item] if other.number != attempt.number]
        older = [other for other in others if other.number < attempt.number]
        return any(other.state in ACTIVE for other in older) or any(map(item.is_settled_by, others))

    def still_ours(self, claim: Claim[T]) -> bool:
        return self.storage.get_trial(claim.trial_id).state == TrialState.RUNNING

    def close(self, claim: Claim[T], outcome: Outcome) -> bool:
        """End an attempt; False where somebody else has ended it already."""
        try:
            for name, fact in {"end": outcome.end, "reason": outcome.reason, **outcome.facts}.items():
                self.storage.set_trial_user_attr(claim.trial_id, name, fact)
            self.storage.set_trial_state_values(claim.trial_id, outcome.state, outcome.values)
        except UpdateFinishedTrialError:
            return False
        return True

    def close_as_found(self, claim: Claim[T]) -> bool:
        """End an attempt as the disk says that its item ended."""
        (claim.item.folder / HEARTBEAT).unlink(missing_ok=True)  # of a worker that died after it
        return self.close(claim, claim.item.outcome())

    def recover(self) -> None:
        """Close the attempts of dead workers, and enter again what was broken off."""
        for item, attempts in self.attempts().items():
            dead = [attempt for attempt in attempts if is_dead(item, attempt)]
            closed = [self.close_dead(item, attempt, attempts) for attempt in dead]
            if any(closed):
                attempts = self.attempts()[item]
            if is_broken_off(item, attempts):
                item.enter(self.studies[item.study], attempts)

    def close_dead(self, item: T, attempt: FrozenTrial, attempts: Sequence[FrozenTrial]) -> bool:
        """Close a dead worker's attempt; False where somebody else has done so.

        Only who closes it may touch the item's folder, and only where nobody can have begun the item again since.
        """
        claim = Claim(item, attempt._trial_id)
        if self.is_duplicate(item, attempt):
            return self.close(claim, DUPLICATE)
        if item.state() in ("done", "failed"):  # it died before it could say so here
            return self.close_as_found(claim)
        epoch = item.epochs_done(attempt)
        deaths = 1 + sum(other.user_attrs.get("died_after") == epoch for other in attempts if other is not attempt)
        if deaths < DEATHS:
            reason = f"{cause_of_death(worker_of(attempt))} in epoch {epoch + 1}"
            return self.close(claim, Outcome("died", reason, facts={"died_after": epoch}))
        reason = f"{DEATHS} workers died in epoch {epoch + 1}"
        closed = self.close(claim, Outcome("failed", reason))
        if closed:
            item.give_up(reason)
        return closed

    def settled(self) -> bool:
        """Whether nothing waits or runs, or is to be entered again."""
        return not any(
            is_broken_off(item, attempts) or any(attempt.state in ACTIVE for attempt in attempts)
            for item, attempts in self.attempts().items()
        )

    def has_claimed(self, pid: int | None) -> bool:
        """Whether a process of this number was ever given an item."""
        return any(worker_of(one).get("pid") == pid for several in self.attempts().values() for one in several)


def end_of(attempt: FrozenTrial) -> str | None:
    """Its `Outcome.end`, once there is one."""
    return attempt.user_attrs.get("end")


def worker_of(attempt: FrozenTrial) -> dict[str, Any]:
    """The process that holds it, as of `this_process`; empty where the claim has not been signed."""
    return attempt.user_attrs.get("worker", {})


def is_dead(item: Item, attempt: FrozenTrial) -> bool:
    """Whether an attempt is in the hands of a worker that has died."""
    if attempt.state != TrialState.RUNNING:
        return False
    claimed = attempt.datetime_start.timestamp() if attempt.datetime_start else 0.0
    return not is_alive(worker_of(attempt), item.folder, claimed)


def was_broken_off(attempt: FrozenTrial) -> bool:
    return attempt.state.is_finished() and end_of(attempt) in BROKEN_OFF


def is_broken_off(item: Item, attempts: Sequence[FrozenTrial]) -> bool:
    """Whether an item is to be attempted again, without being asked for."""
    return bool(attempts) and was_broken_off(attempts[-1]) and item.state() != "failed"


def cause_of_death(worker: dict[str, Any]) -> str:
    if not worker or is_here(worker):
        return "its worker died"
    return f"its worker on {worker.get('host')} showed no heartbeat for {LEASE_SECONDS:.0f} s"
