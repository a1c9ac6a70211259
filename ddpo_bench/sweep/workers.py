"""Worker processes of this machine: started, watched, started again where they die, ended with the command."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from ddpo_bench.sweep.book import BookPlace
from ddpo_bench.sweep.follow import Follower
from ddpo_bench.sweep.watcher import Watcher
from ddpo_bench.sweep.worker import work

GRACE_SECONDS = 15.0  # for a worker to end by itself before it is killed
LOOK_SECONDS = 0.5  # between two looks at what the workers did
STILLBORN = 3  # workers in a row that may fail before they claim anything
KILLED = 30  # that may be killed before they do, which says less about the installation


class WorkersDied(Exception):
    """Workers die before they begin: something is wrong with the machine or the installation, not with a run."""


class Pool:
    """The workers of one command."""

    def __init__(self, place: BookPlace, count: int, watcher: Watcher, train: str):
        """count: processes at a time.  train: "module:function"."""
        self.place = place
        self.train = train
        self.book = place.open()
        self.follower = Follower(self.book, watcher)
        self.environments = environments(count)
        self.processes: dict[int, BaseProcess] = {}
        self.stillborn = 0

    def finish(self) -> None:
        """Work until nothing is left to do; on any exception, KeyboardInterrupt too, no process is left behind.

        Raises:
            WorkersDied: where workers keep dying before they claim a run.
        """
        try:
            for index in range(len(self.environments)):
                self.start(index)
            while self.processes:
                wait([process.sentinel for process in self.processes.values()], LOOK_SECONDS)
                for index, process in list(self.processes.items()):
                    if not process.is_alive():
                        self.replace(index, process)
                self.follower.look()
        finally:
            self.stop()
            self.follower.look()

    def start(self, index: int) -> None:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=work, args=(self.place, self.train))
        with interrupts_ignored(), variables(self.environments[index]):  # both inherited from the first moment on
            process.start()
        self.processes[index] = process

    def replace(self, index: int, process: BaseProcess) -> None:
        """A process has ended: at the end of the work, or by a death that its run and we survive."""
        del self.processes[index]
        if process.exitcode == 0:
            return
        self.stillborn = 0 if self.has_claimed(process.pid) else self.stillborn + 1
        if self.stillborn >= (STILLBORN if process.exitcode and process.exitcode > 0 else KILLED):
            raise WorkersDied(f"{self.stillborn} workers died before they began, the last with {epitaph(process)}.")
        self.book.recover()
        if not self.book.settled():
            self.start(index)

    def has_claimed(self, pid: int | None) -> bool:
        workers = [trial.user_attrs.get("worker", {}) for trials in self.book.trials().values() for trial in trials]
        return any(worker.get("pid") == pid for worker in workers)

    def stop(self) -> None:
        """End every process: politely, so that the trainer writes what it has, then by force."""
        for process in self.processes.values():
            process.terminate()
        try:
            for process in self.processes.values():
                process.join(GRACE_SECONDS)
        finally:
            for process in self.processes.values():
                process.kill()
                process.join()
            self.book.recover()


def epitaph(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def environments(count: int) -> list[dict[str, str]]:
    """Variables for each of `count` workers: a GPU of its own where there are several, one thread where there is none.

    Two one-thread workers do more than one process with two threads, and numbers do not depend on the core count.
    """
    import torch

    gpus = torch.cuda.device_count()
    if gpus == 0:
        return [{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} for _ in range(count)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    return [{"CUDA_VISIBLE_DEVICES": visible.split(",")[index % gpus]} for index in range(count)]


def default_count() -> int:
    """Workers that this machine has room for: one a GPU, or one a core."""
    import torch

    return torch.cuda.device_count() or (os.cpu_count() or 1)


@contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a process that is started meanwhile: unpickling its arguments imports torch already."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """So that Ctrl-C does not reach a worker that is still starting."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
