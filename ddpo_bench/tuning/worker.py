"""A worker of a suite's tuning: claims trials, and trains their runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from ddpo_bench.files import naming_disk_trouble
from ddpo_bench.sweep.book import Book
from ddpo_bench.sweep.runner import book_place
from ddpo_bench.sweep.watcher import Watcher
from ddpo_bench.sweep.worker import PAUSE_SECONDS, Train, as_worker, resolve
from ddpo_bench.tuning.studies import Studies, TuningPlace
from ddpo_bench.tuning.trying import Trying


def work(place: TuningPlace, train: str) -> None:
    """Be a worker in a process of its own.

    Args:
        train: "module:function" that trains one run.
    """
    with as_worker(), naming_disk_trouble(place.root):
        book = book_place(place.suite, [], place.root, place.storage).open()
        tune_through(place.open(), book, resolve(train))


def tune_through(
    studies: Studies,
    book: Book,
    train: Train,
    watcher: Watcher | None = None,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Claim and try until every trial has come to its end; others may die, and their trials are ours then.

    Args:
        watcher: of the runs, for a worker in a terminal of its own.
        look: called before and after every trial.
    """
    while True:
        studies.recover()
        if claim := studies.claim():
            look()
            Trying(studies, claim, book, train, watcher).finish()
            look()
        elif studies.settled():
            return
        else:
            time.sleep(PAUSE_SECONDS)
