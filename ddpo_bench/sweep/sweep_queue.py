"""The runs of a suite as items of a run queue; a run's folder says what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.config import Resources
from ddpo_bench.run_folder.metrics import final_reward, learning_curve
from ddpo_bench.run_folder.status import mark, read_status
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.queue_item import Item, Outcome
from ddpo_bench.sweep.run_queue import RunQueue
from ddpo_bench.sweep.storage import open_existing, open_storage


@dataclass(frozen=True, eq=False)
class QueuedRun(Item):
    """A planned run."""

    run: PlannedRun

    @property
    def resources(self) -> Resources:
        return self.run.config.resources

    def enter(self, study: optuna.Study, before: Sequence[FrozenTrial], done: bool = False) -> None:
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if done else TrialState.WAITING,
                value=self.reward() if done else None,
                intermediate_values=learning_curve(self.folder),
                user_attrs={"item": self.name, "cell": self.run.cell, "seed": self.run.config.seed},
            )
        )

    def reward(self) -> float | None:
        return final_reward(self.folder, self.run.config.reward.label)

    def is_settled_by(self, attempt: FrozenTrial) -> bool:
        """A folder that was deleted is to be made again."""
        return attempt.state == TrialState.COMPLETE and self.state() == "done"

    def epochs_done(self, attempt: FrozenTrial | None = None) -> int:
        return int(read_status(self.folder).get("epoch", 0))

    def state(self) -> str:
        return read_status(self.folder)["state"]

    def end_on_disk(self) -> Outcome | None:
        """Of a run that is done the final reward, and as user attributes what it cost."""
        status = read_status(self.folder)
        if status["state"] == "failed":
            return Outcome("failed", status["reason"])
        if status["state"] != "done":
            return None
        reward, cost = self.reward(), {"seconds": status.get("seconds"), "queries": self.run.images}
        return Outcome("done", values=None if reward is None else [reward], facts=cost)

    def give_up(self, reason: str) -> None:
        mark(self.folder, "failed", reason)


@dataclass(frozen=True)
class SweepPlace:
    """What a process needs to open a sweep's queue.

    Attributes:
        storage: URL of a database, or None for the journal in `root`.
        suite: its name, which is that of the study too.
        runs: those that may be entered and claimed.
        root: results/<suite>.
    """

    storage: str | None
    suite: str
    runs: Sequence[PlannedRun]
    root: Path

    def open(self) -> SweepQueue:
        return SweepQueue(self)

    def items(self, runs: Sequence[PlannedRun]) -> list[QueuedRun]:
        return [QueuedRun(self.suite, str(run.folder), self.root / run.folder, run) for run in runs]


class SweepQueue(RunQueue[QueuedRun]):
    """The runs of a suite, in the order in which they are claimed."""

    def __init__(self, place: SweepPlace):
        storage = open_storage(place.storage, place.root)
        super().__init__(storage, place.items(place.runs), {place.suite: [StudyDirection.MAXIMIZE]})
        self.place = place

    def for_runs(self, runs: Sequence[PlannedRun]) -> Self:
        """The same queue for other runs."""
        return self.restricted_to(self.place.items(runs))


def stored_attempts(suite: str, root: Path, storage: str | None = None) -> Iterator[FrozenTrial]:
    """All attempts at runs of a suite, from a queue that is left as it is; none where there is none.

    Args:
        root: results/<suite>.
        storage: URL of the database that holds the queue; None is the journal in `root`, which holds this suite alone.
    Raises:
        StorageError: where the queue cannot be read.
    """
    if (stored := open_existing(storage, root)) is None:
        return
    for study in stored.get_all_studies():
        if storage is None or study.study_name == suite:
            for trial in stored.get_all_trials(study._study_id, deepcopy=False):
                if trial.user_attrs.get("item", "").startswith("runs/"):
                    yield trial
