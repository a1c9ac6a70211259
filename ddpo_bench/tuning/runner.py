"""A tuned suite brought to its end: an equal number of trials for every cell, then the winners on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from ddpo_bench.sweep.plan import PlannedRun, plan
from ddpo_bench.sweep.plan_file import write_plan
from ddpo_bench.sweep.runner import TRAIN, Display, book_place, run_suite, work_on_suite
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.sweep.watcher import Watcher
from ddpo_bench.sweep.worker import resolve
from ddpo_bench.sweep.workers import Pool
from ddpo_bench.tuning.follow import TuningFollower, TuningWatcher
from ddpo_bench.tuning.outcome import swept, without_winner, write_best, write_records
from ddpo_bench.tuning.studies import Studies, TuningPlace
from ddpo_bench.tuning.worker import tune_through, work

TuningDisplay = Callable[[Studies], AbstractContextManager[TuningWatcher]]


class Outcome(NamedTuple):
    """What came of tuning and sweeping.

    Attributes:
        runs: of the winners and of the cells that were not tuned.
        failed: those of them that are failed.
        without_winner: a line for every study that no configuration came through.
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
    tuning_display: TuningDisplay,
    display: Display,
    retry_failed: bool = False,
    storage: str | None = None,
    train: str = TRAIN,
) -> Outcome:
    """Tune a suite and sweep the winners, together with whoever else works on it; goes on where it was interrupted.

    Args:
        suite: with a `tune:` block.
        root: results/<suite>.
        workers: processes at a time.
        tuning_display, display: of the trials, then of the runs that are reported.
        retry_failed: whether failed runs of the sweep count as still to do; a failed trial stays one.
        storage: URL of the database for the studies and the book; None is a journal in `root`.
        train: "module:function" that trains one run.
    """
    place = TuningPlace(storage, suite, root)
    studies = begin(place)
    if not studies.settled():
        with tuning_display(studies) as watcher:
            Pool(work, (place, train), workers, studies, TuningFollower(studies, watcher).look).finish()
    write_records(studies)
    final = swept(studies)
    runs = plan(final)
    failed = run_suite(final, runs, root, workers, display, retry_failed, storage, train)
    return Outcome(runs, failed, without_winner(studies), write_best(studies, final))


def work_on_tuning(
    suite: Suite,
    root: Path,
    tuning_display: TuningDisplay,
    display: Display,
    quiet: Watcher,
    storage: str | None = None,
    train: str = TRAIN,
) -> list[PlannedRun]:
    """Be one worker of a tuned suite, in this process, until nothing is left to do; arguments as of `tune_suite`.

    Args:
        quiet: of the runs of trials.
    Returns:
        the runs of the winners and of the cells that were not tuned.
    """
    studies = begin(TuningPlace(storage, suite, root))
    book = book_place(suite, [], root, storage).open()
    with tuning_display(studies) as watcher:
        tune_through(studies, book, resolve(train), quiet, TuningFollower(studies, watcher).look)
    write_records(studies)
    final = swept(studies)
    runs = plan(final)
    work_on_suite(final, runs, root, display, storage, train)
    write_best(studies, final)
    return runs


def begin(place: TuningPlace) -> Studies:
    """Write down the plan, and in the studies what is to be tried."""
    studies = place.open()
    studies.enter()
    if not studies.settled():
        write_plan(place.suite, place.root)
    return studies
