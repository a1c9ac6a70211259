"""How far a sweep is right now: read from its plan, its run queue and its run folders, which are left as they are.

Works while others write, and where there are run folders only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.alive import signalled
from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import RunConfig
from ddpo_bench.run_folder.metrics import is_evaluation, read_rows
from ddpo_bench.run_folder.places import cell_of, run_folders
from ddpo_bench.run_folder.plan import planned_runs, read_plan
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.estimate import RunProgress, seconds_left
from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS, age_of, is_alive, news_of, time_there
from ddpo_bench.sweep.queue_item import worker_of
from ddpo_bench.sweep.sweep_queue import stored_attempts

RANK = {TrialState.RUNNING: 2, TrialState.WAITING: 1}  # of attempts at one run, over those that have ended


@dataclass(frozen=True)
class RunStatus:
    """One run.

    Attributes:
        name: cell/seed-k.
        folder: with the results folder before it.
        state: queued, running, done, failed, killed or damaged, as the queue and the folder together say.
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
    def progress(self) -> RunProgress:
        at_work = self.alive and self.heartbeat is not None
        since = (age(self.folder / "status.json", self.now) or 0.0) if at_work else 0.0
        return RunProgress(
            self.folder.parent.name, self.epoch, self.epochs, float(self.status.get("seconds", 0.0)), since
        )


@dataclass(frozen=True)
class SweepStatus:
    """A sweep.

    Attributes:
        runs: the plan's.
        others: that have a folder here and are not in the plan as it was last written, or all where there is no plan.
    """

    name: str
    root: Path
    runs: list[RunStatus]
    others: list[RunStatus]

    @property
    def all(self) -> list[RunStatus]:
        return [*self.runs, *self.others]

    def counts(self) -> Counter[str]:
        return Counter(run.state for run in self.runs or self.others)

    def at_work(self) -> list[RunStatus]:
        return [run for run in self.all if run.state == "running" and run.alive]

    def seconds_left(self) -> float | None:
        """For the workers that are alive, or for one where none is."""
        unfinished = [run for run in self.all if run.state in ("running", "killed", "queued")]
        unfinished.sort(key=lambda run: run.state != "running")
        finished = [run.progress for run in self.all if run.state == "done"]
        return seconds_left([*finished, *(run.progress for run in unfinished)], len(self.at_work()))


def sweep_status(root: Path, storage: str | None = None) -> SweepStatus:
    """The state of the sweep in a results folder.

    Args:
        storage: URL of the database that holds its run queue; None is the journal in `root`.
    """
    plan = read_plan(root)
    name = str(plan.get("name", root.resolve().name))
    attempts = last_attempts(name, root, storage)
    planned = planned_runs(plan)
    here = {folder.relative_to(root): RunConfig.epochs for folder in run_folders(root)}
    runs, others = (
        [run_status(root, folder, epochs, attempts.get(str(folder))) for folder, epochs in several.items()]
        for several in (planned, {folder: epochs for folder, epochs in here.items() if folder not in planned})
    )
    return SweepStatus(name, root, runs, others)


def last_attempts(suite: str, root: Path, storage: str | None) -> dict[str, FrozenTrial]:
    """Of each run's attempts the one that counts, by its folder: a running one, else one that waits, else the last."""
    attempts = sorted(stored_attempts(suite, root, storage), key=lambda attempt: RANK.get(attempt.state, 0))
    return {attempt.user_attrs["item"]: attempt for attempt in attempts}


def run_status(root: Path, folder: Path, epochs: int, attempt: FrozenTrial | None) -> RunStatus:
    """folder: below `root`."""
    home = root / folder
    status = status_or_damage(home)
    state = state_of(status["state"], attempt)
    name = f"{cell_of(folder)}/{folder.name}"
    epochs = status.get("epochs", epochs)
    if state != "running":
        return RunStatus(name, home, state, epochs, status)
    now = time_there(home)
    heartbeat = age(home / HEARTBEAT, now)
    holder = worker_of(attempt) if attempt else {}
    if attempt:
        alive = is_alive(holder, home, attempt.datetime_start.timestamp() if attempt.datetime_start else 0.0, now)
    else:
        alive = signalled(status.get("pid", 0)) if heartbeat is None else heartbeat < LEASE_SECONDS
    worker = f"{holder.get('host', '?')}:{holder.get('pid', status.get('pid', '?'))}"
    return RunStatus(name, home, state, epochs, status, worker, alive, heartbeat, now)


def status_or_damage(folder: Path) -> dict[str, Any]:
    """A run's status.json; one that is damaged hides none of the others."""
    try:
        return read_status(folder)
    except Damaged as damage:
        return {"state": "damaged", "reason": str(damage)}


def state_of(told: str, attempt: FrozenTrial | None) -> str:
    """The state of a run whose status.json says `told`, which a killed process could not change any more."""
    if attempt is None or told in ("done", "damaged"):
        return told
    if attempt.state == TrialState.RUNNING:
        return "running"
    if attempt.state == TrialState.WAITING and told == "failed":
        return "queued"  # entered again by --retry-failed
    return "killed" if told == "running" else told


def age(path: Path, now: float) -> float | None:
    """Seconds since a file was written; None where there is none."""
    try:
        return age_of(path, now)
    except FileNotFoundError:
        return None
