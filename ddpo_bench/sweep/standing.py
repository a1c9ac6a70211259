"""What stands of a sweep right now: read from its plan, its book and its run folders, and nothing touched.

Works while others write, and where there are run folders only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import RunConfig
from ddpo_bench.run_folder.metrics import is_evaluation, read_rows
from ddpo_bench.run_folder.places import cell_of, run_folders
from ddpo_bench.run_folder.plan import planned_runs, read_plan
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.book import is_book_of
from ddpo_bench.sweep.estimate import Course, seconds_left
from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS, age_of, is_alive, news_of, signalled, time_there
from ddpo_bench.sweep.storage import open_existing

RANK = {TrialState.RUNNING: 2, TrialState.WAITING: 1}  # of attempts at one run, over those that have ended


@dataclass(frozen=True)
class RunStanding:
    """One run.

    Attributes:
        name: cell/seed-k.
        folder: with the results folder before it.
        state: queued, running, done, failed, killed or damaged, as the book and the folder together say.
        status: of its status.json.
        worker: "host:pid" of who works on it.
        alive: whether they still do.
        heartbeat: seconds since they last showed it; None where they never did.
        now: Unix time by the clock that dates its files.
    """

    name: str
    folder: Path
    state: str
    epochs: int
    status: Mapping[str, Any]
    worker: str | None = None
    alive: bool = False
    heartbeat: float | None = None
    now: float = 0.0

    @property
    def epoch(self) -> int:
        return int(self.status.get("epoch", 0))

    @cached_property
    def news(self) -> dict[str, Any]:
        """The newest row of training, with what the heartbeat tells of the epoch that is being sampled."""
        rows = [row for row in read_rows(self.folder) if not is_evaluation(row)]
        return {**(rows[-1] if rows else {}), "now": news_of(self.folder)}

    @property
    def course(self) -> Course:
        at_work = self.alive and self.heartbeat is not None
        since = (age(self.folder / "status.json", self.now) or 0.0) if at_work else 0.0
        return Course(self.folder.parent.name, self.epoch, self.epochs, float(self.status.get("seconds", 0.0)), since)


@dataclass(frozen=True)
class Standing:
    """A sweep.

    Attributes:
        runs: the plan's.
        others: that have a folder here and are not in the plan as it was last written, or all where there is no plan.
    """

    name: str
    root: Path
    runs: list[RunStanding]
    others: list[RunStanding]

    @property
    def all(self) -> list[RunStanding]:
        return [*self.runs, *self.others]

    def counts(self) -> Counter[str]:
        return Counter(run.state for run in self.runs or self.others)

    def at_work(self) -> list[RunStanding]:
        return [run for run in self.all if run.state == "running" and run.alive]

    def seconds_left(self) -> float | None:
        """For the workers that are alive, or for one where none is."""
        unfinished = [run for run in self.all if run.state in ("running", "killed", "queued")]
        unfinished.sort(key=lambda run: run.state != "running")
        finished = [run.course for run in self.all if run.state == "done"]
        return seconds_left([*finished, *(run.course for run in unfinished)], len(self.at_work()))


def standing(root: Path, storage: str | None = None) -> Standing:
    """What stands of the sweep in a results folder.

    Args:
        storage: URL of the database that holds its book; None is the journal in `root`.
    """
    plan = read_plan(root)
    name = str(plan.get("name", root.resolve().name))
    attempts = last_attempts(root, storage, name)
    planned = planned_runs(plan)
    here = {folder.relative_to(root): RunConfig.epochs for folder in run_folders(root)}
    runs, others = (
        [stand_of(root, folder, epochs, attempts.get(str(folder))) for folder, epochs in several.items()]
        for several in (planned, {folder: epochs for folder, epochs in here.items() if folder not in planned})
    )
    return Standing(name, root, runs, others)


def last_attempts(root: Path, storage: str | None, name: str) -> dict[str, FrozenTrial]:
    """Of each run's trials the one that counts, by its folder: a running one, else one that waits, else the last.

    A journal holds this sweep alone; of a database the studies of its name are read, one for every matrix it has had.
    """
    found: dict[str, FrozenTrial] = {}
    for trial in trials_of(root, storage, name):
        folder = trial.user_attrs.get("folder", "")
        held = found.get(folder)
        if held is None or RANK.get(trial.state, 0) >= RANK.get(held.state, 0):
            found[folder] = trial
    return found


def trials_of(root: Path, storage: str | None, name: str) -> Iterator[FrozenTrial]:
    book = open_existing(storage, root)
    for study in book.get_all_studies() if book else ():
        if storage is None or is_book_of(study.study_name, name):
            yield from book.get_all_trials(study._study_id, deepcopy=False) if book else ()


def stand_of(root: Path, folder: Path, epochs: int, trial: FrozenTrial | None) -> RunStanding:
    home = root / folder
    status = status_of(home)
    state = state_of(status["state"], trial)
    name = f"{cell_of(folder)}/{folder.name}"
    epochs = status.get("epochs", epochs)
    if state != "running":
        return RunStanding(name, home, state, epochs, status)
    now = time_there(home)
    heartbeat = age(home / HEARTBEAT, now)
    holder = trial.user_attrs.get("worker", {}) if trial else {}
    if trial is None:
        alive = signalled(status.get("pid", 0)) if heartbeat is None else heartbeat < LEASE_SECONDS
    else:
        alive = is_alive(holder, home, trial.datetime_start.timestamp() if trial.datetime_start else 0.0, now)
    worker = f"{holder.get('host', '?')}:{holder.get('pid', status.get('pid', '?'))}"
    return RunStanding(name, home, state, epochs, status, worker, alive, heartbeat, now)


def status_of(folder: Path) -> dict[str, Any]:
    """A run's status.json; one that is damaged hides none of the others."""
    try:
        return read_status(folder)
    except Damaged as damage:
        return {"state": "damaged", "reason": str(damage)}


def state_of(told: str, trial: FrozenTrial | None) -> str:
    """The state of a run whose status.json says `told`, which a killed process could not change any more."""
    if trial is None or told in ("done", "damaged"):
        return told
    if trial.state == TrialState.RUNNING:
        return "running"
    if trial.state == TrialState.WAITING and told == "failed":
        return "queued"  # entered again by --retry-failed
    return "killed" if told == "running" else told


def age(path: Path, now: float) -> float | None:
    """Seconds since a file was written; None where there is none."""
    try:
        return age_of(path, now)
    except FileNotFoundError:
        return None
