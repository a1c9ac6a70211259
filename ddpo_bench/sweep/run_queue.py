"""The run queue: Optuna studies in which workers claim runs, and trials of a tuning.

Every attempt at an item of the queue is an Optuna trial.  A claim is the storage's own compare-and-set of a trial from
WAITING to RUNNING, so that any number of workers on any number of hosts share one queue.  A worker that dies leaves its
trial failed, and the item gets another one, which resumes from what the first has left on disk.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.config import Resources
from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS, is_alive, is_here, show, this_process
from ddpo_bench.sweep.queue_item import DUPLICATE, Claim, Item, Outcome, T, end_of, is_broken_off, worker_of

DEATHS = 5  # workers that may die at one epoch of an item before it counts as failed
ACTIVE = (TrialState.WAITING, TrialState.RUNNING)


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

    def needing(self, resources: Resources) -> Self:
        """The same queue for the items that are trained on exactly these."""
        return self.restricted_to([item for item in self.items if item.resources == resources])

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
                if attempt.state == TrialState.WAITING and (claim := self.take(item, attempt)):
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
                self.close_as_on_disk(claim)
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

    def close_as_on_disk(self, claim: Claim[T]) -> bool:
        """End an attempt at an item that is done or failed as the disk says; False where somebody else has ended it."""
        (claim.item.folder / HEARTBEAT).unlink(missing_ok=True)  # of a worker that died after it
        end = claim.item.end_on_disk()
        assert end is not None
        return self.close(claim, end)

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
            return self.close_as_on_disk(claim)
        return self.close_broken_off(claim, cause_of_death(worker_of(attempt)))

    def close_broken_off(self, claim: Claim[T], cause: str) -> bool:
        """End an attempt by a death, which another attempt may survive unless several have died in the same epoch.

        Args:
            cause: which process died, as a clause.
        Returns:
            False where somebody else has ended it already.
        """
        item = claim.item
        before = {attempt._trial_id: attempt for attempt in self.attempts()[item]}
        epoch = item.epochs_done(before.pop(claim.trial_id))
        deaths = 1 + sum(other.user_attrs.get("died_after") == epoch for other in before.values())
        if deaths < DEATHS:
            return self.close(claim, Outcome("died", f"{cause} in epoch {epoch + 1}", facts={"died_after": epoch}))
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


def is_dead(item: Item, attempt: FrozenTrial) -> bool:
    """Whether an attempt is in the hands of a worker that has died."""
    if attempt.state != TrialState.RUNNING:
        return False
    claimed = attempt.datetime_start.timestamp() if attempt.datetime_start else 0.0
    return not is_alive(worker_of(attempt), item.folder, claimed)


def cause_of_death(worker: dict[str, Any]) -> str:
    if not worker or is_here(worker):
        return "its worker died"
    return f"its worker on {worker.get('host')} showed no heartbeat for {LEASE_SECONDS:.0f} s"
