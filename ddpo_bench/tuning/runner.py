"""A tuned suite brought to its end: an equal number of trials for every cell, then the winners on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ddpo_bench.config import Resources
from ddpo_bench.files import naming_disk_trouble
from ddpo_bench.sweep.follow import Watcher
from ddpo_bench.sweep.plan import PlannedRun, runs_of
from ddpo_bench.sweep.plan_file import write_plan
from ddpo_bench.sweep.queue_item import Claim
from ddpo_bench.sweep.ray_workers import RayPool
from ddpo_bench.sweep.runner import TRAIN, Display, run_suite, work_on_suite
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.sweep.sweep_queue import SweepPlace, SweepQueue
from ddpo_bench.sweep.worker import Train, resolve, work_through
from ddpo_bench.sweep.workers import Pool
from ddpo_bench.tuning.display import Quiet, TuningDisplay
from ddpo_bench.tuning.outcome import swept, without_winner, write_best, write_records
from ddpo_bench.tuning.studies import Slot, Studies, TuningPlace
from ddpo_bench.tuning.trial import RunningTrial


class TuningResult(NamedTuple):
    """What came of tuning and sweeping.

    Attributes:
        runs: of the winners and of the cells that were not tuned.
        failed: those of them that are failed.
        without_winner: a line for every study in which no configuration succeeded.
        best: files for `ddpo-bench train`.
    """

    runs: list[PlannedRun]
    failed: list[PlannedRun]
    without_winner: list[str]
    best: list[Path]


def tune_suite(
    suite: Suite,
    root: Path,
    workers: int,
    display: Display,
    retry_failed: bool = False,
    storage: str | None = None,
    train: str = TRAIN,
    pool: Callable[..., Pool | RayPool] = Pool,
) -> TuningResult:
    """Tune a suite and sweep the winners, together with whoever else works on it; resumes what was interrupted.

    Args:
        suite: with a `tune:` block.
        root: results/<suite>.
        workers: processes at a time.
        display: of the runs that are reported.
        retry_failed: whether failed runs of the sweep count as still to do; a failed trial stays one.
        storage: URL of the database for the run queue; None is a journal in `root`.
        train: "module:function" that trains one run.
        pool: what makes the workers, with the arguments of `Pool`.
    """
    place = TuningPlace(storage, suite, root)
    studies = begin(place)
    if not studies.settled():
        with TuningDisplay(studies) as following:
            pool(work, (place, train), workers, following).finish()
    write_records(studies)
    final = swept(studies)
    runs = runs_of(final)
    failed = run_suite(final, runs, root, workers, display, retry_failed, storage, train, pool)
    return TuningResult(runs, failed, without_winner(studies), write_best(studies, final))


def work_on_tuning(
    suite: Suite,
    root: Path,
    display: Display,
    storage: str | None = None,
    train: str = TRAIN,
) -> list[PlannedRun]:
    """Be one worker of a tuned suite, in this process, until nothing is left to do; arguments as of `tune_suite`.

    Returns:
        The runs of the winners and of the cells that were not tuned.
    """
    place = TuningPlace(storage, suite, root)
    studies = begin(place)
    with TuningDisplay(studies) as following:
        try_all(place, studies, resolve(train), Quiet(), following.poll)
    write_records(studies)
    final = swept(studies)
    runs = runs_of(final)
    work_on_suite(final, runs, root, display, storage, train)
    write_best(studies, final)
    return runs


def work(place: TuningPlace, train: str, only: Resources | None = None) -> None:
    """Be a worker in a process of its own.

    Args:
        train: "module:function" that trains one run.
        only: of a worker that does the trials of runs that are trained on these alone, and leaves once none waits.
    """
    with naming_disk_trouble(place.root):
        studies = place.open()
        try_all(place, studies.needing(only) if only else studies, resolve(train), leaves=only is not None)


def try_all(
    place: TuningPlace,
    studies: Studies,
    train: Train,
    watcher: Watcher | None = None,
    follow: Callable[[], None] = lambda: None,
    leaves: bool = False,
) -> None:
    """Claim and try until every trial has come to its end.

    Args:
        studies: `place.open()`.
        watcher: of the runs, for a worker in a terminal of its own.
        follow: called before and after every trial.
        leaves: as of `work_through`.
    """
    queue = queue_of_runs(place)

    def attempt(claim: Claim[Slot]) -> None:
        follow()
        RunningTrial(studies, claim, queue, train, watcher).finish()
        follow()

    work_through(studies, attempt, leaves)


def queue_of_runs(place: TuningPlace) -> SweepQueue:
    """The queue in which the runs of trials are entered."""
    return SweepPlace(place.storage, place.suite.name, [], place.root).open()


def begin(place: TuningPlace) -> Studies:
    """Write down the plan, and in the studies what is to be tried."""
    studies = place.open()
    studies.enter()
    if not studies.settled():
        write_plan(place.suite, place.root)
    return studies
