"""A worker process: claims runs from the queue, trains one at a time, and writes down what became of each."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError

from ddpo_bench.config import Resources
from ddpo_bench.files import DiskTrouble, naming_disk_trouble, write_text
from ddpo_bench.process_errors import ProcessLost
from ddpo_bench.quiet import redirect_output
from ddpo_bench.run_folder.status import mark
from ddpo_bench.sweep.follow import Watcher
from ddpo_bench.sweep.lease import TAKEN_OVER, Heartbeat, leave
from ddpo_bench.sweep.queue_item import INTERRUPTED, Claim, Outcome, T
from ddpo_bench.sweep.run_queue import RunQueue
from ddpo_bench.sweep.sweep_queue import QueuedRun, SweepPlace, SweepQueue
from ddpo_bench.training.run_identity import CONFIG, write_identity
from ddpo_bench.training.status import Stop

PAUSE_SECONDS = 1.0  # before the queue is asked again, while all items are in other hands
Train = Callable[..., None]


def work(place: SweepPlace, train: str, only: Resources | None = None) -> None:
    """Be a worker of a sweep in a process of its own.

    Args:
        train: "module:function" that trains one run.
        only: of a worker that does the runs that are trained on these alone, and leaves once none of them waits.
    """
    with naming_disk_trouble(place.root):
        queue = place.open()
        train_all(queue.needing(only) if only else queue, resolve(train), leaves=only is not None)


def work_through(queue: RunQueue[T], attempt: Callable[[Claim[T]], None], leaves: bool = False) -> None:
    """Claim and attempt items until none waits and nobody works; others may die, and their items are ours then.

    Args:
        leaves: do not stay for the items of others, for whom another worker will be started.
    """
    while True:
        queue.recover()
        if claim := queue.claim():
            attempt(claim)
        elif leaves or queue.settled():
            return
        else:
            time.sleep(PAUSE_SECONDS)


@contextmanager
def holding(queue: RunQueue[T], claim: Claim[T]) -> Iterator[Heartbeat]:
    """Show that we live while we work on an item; where we are interrupted, or the disk is full, others may have it."""
    folder = claim.item.folder
    try:
        with naming_disk_trouble(folder), Heartbeat(folder, lambda: queue.still_ours(claim)) as heartbeat:
            yield heartbeat
    except (KeyboardInterrupt, DiskTrouble):
        queue.close(claim, INTERRUPTED)
        raise


def train_all(queue: SweepQueue, train: Train, watcher: Watcher | None = None, leaves: bool = False) -> None:
    """Train the runs of a queue until all are over.

    Args:
        watcher: of a worker in a terminal of its own; without one, what libraries print goes to each run's output.log.
        leaves: as of `work_through`.
    """
    work_through(queue, lambda claim: attempt(queue, claim, train, watcher), leaves)


def attempt(queue: SweepQueue, claim: Claim[QueuedRun], train: Train, watcher: Watcher | None) -> None:
    claim.item.folder.mkdir(parents=True, exist_ok=True)
    if watcher:
        watcher.started(claim.item.run, "this worker")
    else:
        redirect_output(claim.item.folder / "output.log")
    outcome = train_claimed(queue, claim, train, watcher)
    queue.close(claim, outcome)
    if watcher:
        end = "killed" if outcome.end == "died" else outcome.end
        watcher.ended(claim.item.run, end, outcome.reason)


def train_claimed(queue: SweepQueue, claim: Claim[QueuedRun], train: Train, watcher: Watcher | None) -> Outcome:
    run, folder = claim.item.run, claim.item.folder
    try:
        with holding(queue, claim) as heartbeat:
            if not (folder / CONFIG).exists():  # so that a run which cannot start is known by its configuration
                write_identity(folder, run.config)

            def on_row(row: dict[str, Any]) -> None:
                heartbeat.news = {"epoch": row["epoch"], "sampled": row.get("sampled", 0)}
                if watcher:
                    watcher.row(run, row)
                if "reward_mean" in row:
                    report(queue, claim, row)

            train(run.config, folder, on_row)
    except DiskTrouble:
        raise
    except ProcessLost as lost:  # as if this worker had died
        queue.close_broken_off(claim, str(lost))
        return claim.item.end_on_disk() or Outcome("died", str(lost))
    except Stop as stop:
        queue.close(claim, Outcome("stopped", str(stop)))
        raise
    except Exception as error:  # one run's failure, whatever it is, must not end the others
        write_text(folder / "error.log", traceback.format_exc())
        mark(folder, "failed", in_one_line(error))
    return claim.item.end_on_disk() or Outcome("failed", "its trainer left it unfinished")


def report(queue: SweepQueue, claim: Claim[QueuedRun], row: dict[str, Any]) -> None:
    """A point of the run's learning curve."""
    try:
        queue.storage.set_trial_intermediate_value(claim.trial_id, row["epoch"], row["reward_mean"])
    except UpdateFinishedTrialError:
        leave(claim.item.folder, TAKEN_OVER)


def in_one_line(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def resolve(dotted: str) -> Train:
    module, _, function = dotted.partition(":")
    return getattr(importlib.import_module(module), function)
