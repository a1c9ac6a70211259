"""A suite's results folder brought up to its plan: what is done is skipped, what was killed resumes, the rest runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.follow import SweepFollower, Watcher
from ddpo_bench.sweep.longer import begin_from_shorter
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.plan_file import write_plan
from ddpo_bench.sweep.ray_workers import RayPool
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.sweep.sweep_queue import SweepPlace, SweepQueue
from ddpo_bench.sweep.worker import resolve, train_all, work
from ddpo_bench.sweep.workers import Pool

TRAIN = "ddpo_bench.training.launch:train_on_processes"
Display = Callable[[Sequence[PlannedRun], int], AbstractContextManager[Watcher]]  # of runs to do, and how many are done


def run_suite(
    suite: Suite,
    runs: Sequence[PlannedRun],
    root: Path,
    workers: int,
    display: Display,
    retry_failed: bool = False,
    storage: str | None = None,
    train: str = TRAIN,
    pool: Callable[..., Pool | RayPool] = Pool,
) -> list[PlannedRun]:
    """Train what of `runs` is still to do, together with whoever else works on this suite.

    Args:
        root: results/<suite>.
        workers: processes at a time.
        retry_failed: whether failed runs count as still to do.
        storage: URL of the database that holds the run queue; None is a journal in `root`.
        train: "module:function" that trains one run.
        pool: what makes the workers, with the arguments of `Pool`.
    Returns:
        The runs that are failed in the end.
    """
    settled = {"done"} if retry_failed else {"done", "failed"}
    todo = [run for run in runs if state(run, root) not in settled]
    queue = begin(suite, runs, root, storage, retry_failed)
    if todo:
        with display(todo, sum(state(run, root) == "done" for run in runs)) as watcher:
            pool(work, (queue.place, train), min(workers, len(todo)), SweepFollower(queue, watcher)).finish()
    write_plan(suite, root, wall_seconds(queue))
    return [run for run in runs if state(run, root) == "failed"]


def work_on_suite(
    suite: Suite,
    runs: Sequence[PlannedRun],
    root: Path,
    display: Display,
    storage: str | None = None,
    train: str = TRAIN,
) -> None:
    """Be one worker of a suite, in this process, until nothing is left to do; arguments as of `run_suite`."""
    queue = begin(suite, runs, root, storage)
    todo = [run for run in runs if state(run, root) != "done"]
    with display(todo, len(runs) - len(todo)) as watcher:
        train_all(queue, resolve(train), watcher)
    write_plan(suite, root, wall_seconds(queue))


def begin(
    suite: Suite, runs: Sequence[PlannedRun], root: Path, storage: str | None, retry_failed: bool = False
) -> SweepQueue:
    """Write down the plan, and in the queue what of it is to be done; longer runs begin where shorter ones ended."""
    begin_from_shorter(root, runs)
    queue = SweepPlace(storage, suite.name, runs, root).open()
    queue.recover()  # of a command that died after its last run there may be nobody else to do it
    queue.enter(retry_failed)
    write_plan(suite, root)
    return queue


def state(run: PlannedRun, root: Path) -> str:
    """queued, running, done, failed or killed."""
    return read_status(root / run.folder)["state"]


def wall_seconds(queue: SweepQueue) -> float:
    """Time in which somebody worked on the suite, whoever it was."""
    total, until = 0.0, datetime.min
    (study,) = queue.studies.values()
    attempts = [trial for trial in study.get_trials(deepcopy=False) if trial.datetime_start]
    for trial in sorted(attempts, key=lambda trial: trial.datetime_start or datetime.min):
        start, end = trial.datetime_start or datetime.min, trial.datetime_complete or datetime.now()
        total += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return total
