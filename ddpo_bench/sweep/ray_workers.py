"""Workers of a suite or of a tuning as Ray tasks: Ray places them, starts them again and keeps their logs.

The run queue stays what decides who does what.  A task that Ray starts twice, or one whose node was lost, claims what
waits then, and leaves once nothing does, so that its node is free for others or for the autoscaler to remove.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from ddpo_bench.config import Resources
from ddpo_bench.files import DiskTrouble
from ddpo_bench.signals import interrupt
from ddpo_bench.sweep.follow import Follower
from ddpo_bench.sweep.queue_item import worker_of
from ddpo_bench.sweep.ray_cluster import Cluster, RayUnavailable
from ddpo_bench.sweep.room import ONE_THREAD
from ddpo_bench.sweep.run_queue import RunQueue
from ddpo_bench.sweep.workers import EARLY_FAILURES, EARLY_KILLS, GRACE_SECONDS, WorkersDied

POLL_SECONDS = 1.0  # between two questions what the workers did
RETRIES = 3  # of a task whose process or node died, by Ray; after these the queue says whether there is work left


class RayPool:
    """The workers of one command, as a `Pool` is, on a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        target: Callable[..., None],
        args: tuple[Any, ...],
        count: int,
        follower: Follower[Any],
    ):
        """What the workers do, and how many there are.

        Args:
            target: what a worker does; called with `args`, and the resources of the runs that are its own.
            args: the place of the queue, and what trains a run.
            count: tasks at a time.
            follower: of the queue that they work on.
        """
        place, train = args
        root, folder = place.root.absolute(), cluster.working_folder()
        if folder is None and root.is_relative_to(Path.cwd()):
            raise RayUnavailable(f"{root}: Ray deletes this copy of the job's folder. Write elsewhere: --results DIR.")
        self.cluster, self.count, self.follower = cluster, count, follower
        self.work = partial(be_worker, target, replace(place, root=root), train, folder, sys.path)
        self.queue: RunQueue[Any] = follower.queue
        self.kinds = list(dict.fromkeys(item.resources for item in self.queue.items))
        self.tasks: dict[Any, Resources] = {}
        self.early_ends, self.claims = 0, self.claimed()

    def finish(self) -> None:
        """Work until nothing is left to do; on any exception, KeyboardInterrupt too, no task is left behind.

        Raises:
            WorkersDied: where tasks keep ending before they claim a run.
            OSError: where one ended because nothing more can be written.
        """
        try:
            while not self.queue.settled():
                self.queue.recover()
                for resources in self.kinds:
                    self.start_missing(resources)
                self.collect()
                self.follower.poll()
        finally:
            self.stop()
            self.follower.poll()

    def start_missing(self, resources: Resources) -> None:
        """Tasks for what waits and has none."""
        states = [attempt.state for several in self.queue.needing(resources).attempts().values() for attempt in several]
        waiting, unsettled = states.count(TrialState.WAITING), len([one for one in states if not one.is_finished()])
        own = sum(kind == resources for kind in self.tasks.values())
        for _ in range(min(waiting, unsettled - own, self.count - len(self.tasks))):
            self.tasks[self.start(resources)] = resources

    def start(self, resources: Resources) -> Any:
        """Start a task, a process of its own that has what the runs need; returns what refers to it."""
        needs = self.cluster.needs(resources)
        environment = {} if needs["num_gpus"] else {"env_vars": ONE_THREAD}
        task = self.cluster.ray.remote(max_retries=RETRIES, max_calls=1, runtime_env=environment, **needs)(call)
        return task.options(name="ddpo-bench worker").remote(self.work, resources)

    def collect(self) -> None:
        """Wait a moment, and see which tasks have ended: since nothing waits, or by a death that its run survives."""
        if not self.tasks:
            time.sleep(POLL_SECONDS)
            return
        ended, _ = self.cluster.ray.wait(list(self.tasks), timeout=POLL_SECONDS)
        for task in ended:
            del self.tasks[task]
            self.count_early_end(*self.end_of(task))

    def end_of(self, task: Any) -> tuple[str, int]:
        """How a task ended, and how many in a row may end so before any claims a run."""
        from ray.exceptions import RayError, RayTaskError

        try:
            number = self.cluster.ray.get(task)
        except RayTaskError as error:
            return " ".join(str(error.cause).split()), EARLY_FAILURES
        except RayError as error:
            return type(error).__name__, EARLY_KILLS
        if number:  # nobody can continue
            raise OSError(number, os.strerror(number))
        return "it found nothing to do", EARLY_KILLS

    def count_early_end(self, why: str, most: int) -> None:
        claimed = self.claimed()
        waits = any(attempt.state == TrialState.WAITING for some in self.queue.attempts().values() for attempt in some)
        self.early_ends = self.early_ends + 1 if waits and claimed == self.claims else 0
        self.claims = claimed
        if self.early_ends >= most:
            raise WorkersDied(f"{self.early_ends} Ray tasks ended before they began a run, the last with: {why}")

    def claimed(self) -> int:
        """How many attempts were ever begun."""
        return sum(bool(worker_of(one)) for several in self.queue.attempts().values() for one in several)

    def stop(self) -> None:
        """End every task: politely, so that the trainer writes what it has, then by force."""
        ray, tasks = self.cluster.ray, list(self.tasks)
        for force in (False, True):
            with suppress(KeyboardInterrupt):
                for task in tasks:
                    ray.cancel(task, force=force)
                _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=GRACE_SECONDS) if tasks else ([], [])
        self.queue.recover()


def be_worker(
    target: Callable[..., None], place: Any, train: str, folder: Path | None, path: list[str], resources: Resources
) -> int | None:
    """What a task does: Ray cancels it by KeyboardInterrupt, and its node sends SIGTERM before it goes.

    Returns:
        The system's errno where nothing more can be written.
    """
    signal.signal(signal.SIGTERM, interrupt)
    if folder and folder.is_dir():
        os.chdir(folder)
    sys.path += [entry for entry in path if entry not in sys.path]
    if not place.root.is_dir():
        raise RayUnavailable(
            f"{place.root} is not there on {platform.node()}. All nodes of the cluster must see the results folder: "
            "give a shared one with --results DIR."
        )
    try:
        with own_output():
            target(place, train, resources)
    except DiskTrouble as trouble:
        return trouble.number
    return None


def call(work: Callable[[Resources], int | None], resources: Resources) -> int | None:
    return work(resources)


@contextmanager
def own_output() -> Iterator[None]:
    """Give the process its output back, Ray's log of the task, which runs redirect to their output.log."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        yield
    finally:
        for number, copy in kept:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(copy, number)
            os.close(copy)


def workers_of(cluster: Cluster) -> Callable[..., RayPool]:
    """What `run_suite` and `tune_suite` start their workers with."""
    return partial(RayPool, cluster)
