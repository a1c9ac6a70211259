"""What a run queue holds: items, each to be done once, the attempts at them, and how an attempt ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.config import Resources


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

    @property
    @abstractmethod
    def resources(self) -> Resources:
        """What one run of it is trained on."""

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

    def end_on_disk(self) -> Outcome | None:
        """How the item ended, where its state is done or failed."""
        return None

    @abstractmethod
    def give_up(self, reason: str) -> None:
        """Write to the disk that it has failed, its workers having died again and again."""


T = TypeVar("T", bound=Item)


@dataclass(frozen=True)
class Claim(Generic[T]):
    """The right to work on an item."""

    item: T
    trial_id: int


def end_of(attempt: FrozenTrial) -> str | None:
    """Its `Outcome.end`, once there is one."""
    return attempt.user_attrs.get("end")


def worker_of(attempt: FrozenTrial) -> dict[str, Any]:
    """The process that holds it, as of `lease.this_process`; empty where the claim has not been signed."""
    return attempt.user_attrs.get("worker", {})


def was_broken_off(attempt: FrozenTrial) -> bool:
    return attempt.state.is_finished() and end_of(attempt) in BROKEN_OFF


def is_broken_off(item: Item, attempts: Sequence[FrozenTrial]) -> bool:
    """Whether an item is to be attempted again, without being asked for."""
    return bool(attempts) and was_broken_off(attempts[-1]) and item.state() != "failed"
