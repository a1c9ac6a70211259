"""A worker process: claims runs from the book, trains one at a time, and writes down what became of each."""

from __future__ import annotations

import faulthandler
import importlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError

from ddpo_bench.files import DiskTrouble, naming_disk_trouble, write_text
from ddpo_bench.run_folder.status import mark
from ddpo_bench.signals import interrupt, leave_hang_ups
from ddpo_bench.sweep.book import Book, BookPlace, Claim
from ddpo_bench.sweep.lease import TAKEN_OVER, Heartbeat, leave
from ddpo_bench.sweep.watcher import Watcher
from ddpo_bench.training.run_identity import CONFIG, write_identity
from ddpo_bench.training.status import Stop

PAUSE_SECONDS = 1.0  # between looks at the book while all runs are in other hands
Train = Callable[..., None]


def work(place: BookPlace, train: str) -> None:
    """Be a worker of a sweep in a process of its own.

    Args:
        train: "module:function" that trains one run.
    """
    with as_worker(), naming_disk_trouble(place.root):
        work_through(place.open(), resolve(train))


@contextmanager
def as_worker() -> Iterator[None]:
    """Make this process one that a Pool can end, and that ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group; the parent decides
    leave_hang_ups()
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except DiskTrouble as trouble:
        sys.exit(trouble.number)  # by which the Pool knows


def work_through(book: Book, train: Train, watcher: Watcher | None = None) -> None:
    """Claim and train until nothing waits and nobody works; others may die, and their runs are ours then.

    Args:
        watcher: of a worker in a terminal of its own; without one, what libraries print goes to each run's output.log.
    """
    while True:
        book.recover()
        if claim := book.claim():
            attempt(book, claim, train, watcher)
        elif book.settled():
            return
        else:
            time.sleep(PAUSE_SECONDS)


def attempt(book: Book, claim: Claim, train: Train, watcher: Watcher | None) -> None:
    folder = book.root / claim.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    if watcher:
        watcher.started(claim.run, "this worker")
    else:
        redirect_output(folder / "output.log")
    end, why = train_claimed(book, claim, train, watcher)
    if watcher:
        watcher.ended(claim.run, end, why)


def train_claimed(book: Book, claim: Claim, train: Train, watcher: Watcher | None) -> tuple[str, str | None]:
    """Train, and close the attempt; returns how it ended and why."""
    folder = book.root / claim.run.folder
    try:
        with naming_disk_trouble(folder), Heartbeat(folder, lambda: book.still_ours(claim)) as heartbeat:
            if not (folder / CONFIG).exists():  # so that a run which cannot start is known by its configuration
                write_identity(folder, claim.run.config)

            def on_row(row: dict[str, Any]) -> None:
                heartbeat.news = {"epoch": row["epoch"], "sampled": row.get("sampled", 0)}
                if watcher:
                    watcher.row(claim.run, row)
                if "reward_mean" in row:
                    report(book, claim, row)

            train(claim.run.config, folder, on_row)
    except (KeyboardInterrupt, DiskTrouble):
        book.close(claim, "interrupted", None)
        raise
    except Stop as stop:
        book.close(claim, "stopped", str(stop))
        raise
    except Exception as error:  # one run's failure, whatever it is, must not end the others
        write_text(folder / "error.log", traceback.format_exc())
        mark(folder, "failed", reason(error))
        book.close(claim, "failed", reason(error))
        return "failed", reason(error)
    book.complete(claim)
    return "done", None


def report(book: Book, claim: Claim, row: dict[str, Any]) -> None:
    try:
        book.report(claim, row["epoch"], row["reward_mean"])
    except UpdateFinishedTrialError:
        leave(book.root / claim.run.folder, TAKEN_OVER)


def die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def reason(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def resolve(dotted: str) -> Train:
    module, _, function = dotted.partition(":")
    return getattr(importlib.import_module(module), function)


def redirect_output(path: Path) -> None:
    """Send what libraries print, C ones too, to a file, so that it neither tears the display nor is lost in a crash."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            if isinstance(stream, io.TextIOWrapper):  # whose encoding was the terminal's
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
