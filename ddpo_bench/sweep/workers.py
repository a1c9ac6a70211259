"""A pool of worker processes that outlives its workers: a run whose process dies is resumed once in a fresh one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from ddpo_bench.files import write_json
from ddpo_bench.sweep.plan import PlannedRun, read_status
from ddpo_bench.sweep.worker import Message, work

GRACE_SECONDS = 15.0  # for a worker to end by itself before it is killed
ATTEMPTS = 2  # processes that one run may cost


class Watcher(Protocol):
    """Is told what happens to the runs."""

    def started(self, run: PlannedRun, worker: int) -> None: ...
    def row(self, run: PlannedRun, worker: int, row: dict[str, Any]) -> None:
        """One row of the run's metrics.jsonl, or {"epoch", "sampled"} while an epoch is being sampled."""

    def ended(self, run: PlannedRun, worker: int, state: str, reason: str | None) -> None:
        """state: done, failed, or killed, after which the run starts again."""


class Worker:
    """One process with a pipe to it and the run that it is at."""

    def __init__(self, index: int, environment: dict[str, str], train: str):
        context = multiprocessing.get_context("spawn")
        self.index = index
        self.run: PlannedRun | None = None
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(theirs, environment, train))
        with interrupts_ignored():  # inherited, so that Ctrl-C does not reach a worker that is still starting
            self.process.start()
        theirs.close()

    def give(self, run: PlannedRun, root: Path) -> None:
        self.run = run
        self.send((run.config, root / run.folder))

    def send(self, task: object) -> None:
        with suppress(OSError):  # the process is dead; the pool will find out by its sentinel
            self.connection.send(task)

    def messages(self) -> Iterator[Message]:
        """All that has arrived; ends, with the process ended too, where the pipe is closed."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.end()

    def end(self, timeout: float = GRACE_SECONDS) -> None:
        """Wait for the process to be over, and see to it that it is."""
        self.process.join(timeout)
        self.process.kill()
        self.process.join()

    def epitaph(self) -> str:
        code = self.process.exitcode or 0
        return f"died by signal {-code}" if code < 0 else f"exited with code {code}"


class Pool:
    """Runs to do and the workers that do them."""

    def __init__(self, runs: Sequence[PlannedRun], root: Path, count: int, watcher: Watcher, train: str):
        """root: the suite's results folder.  count: processes at a time.  train: "module:function"."""
        self.queue = deque(runs)
        self.root = root
        self.watcher = watcher
        self.train = train
        self.deaths: Counter[Path] = Counter()
        self.environments = environments(min(count, len(runs)))
        self.workers: dict[int, Worker] = {}

    def finish(self) -> None:
        """Do all runs; on any exception, KeyboardInterrupt too, no process is left behind."""
        try:
            for index in range(len(self.environments)):
                self.start_worker(index)
            while self.workers:
                self.turn()
        finally:
            self.stop()

    def turn(self) -> None:
        """Wait until a worker says something or dies, and see to it."""
        wait([source for worker in self.workers.values() for source in (worker.connection, worker.process.sentinel)])
        for worker in list(self.workers.values()):
            alive = worker.process.is_alive()  # asked before reading, so that a dead worker's last words are heard
            for kind, content in worker.messages():
                self.hear(worker, kind, content)
            if not alive:
                self.bury(worker)

    def hear(self, worker: Worker, kind: str, content: Any) -> None:
        assert worker.run is not None
        if kind == "row":
            self.watcher.row(worker.run, worker.index, content)
        else:
            self.settle(worker, kind, content)
            self.occupy(worker)

    def bury(self, worker: Worker) -> None:
        """A worker is dead: give its run another process, or up."""
        worker.end()
        del self.workers[worker.index]
        if run := worker.run:
            self.deaths[run.folder] += 1
            if self.deaths[run.folder] < ATTEMPTS:
                self.settle(worker, "killed", f"worker {worker.epitaph()}")
                self.queue.appendleft(run)
            else:
                self.settle(worker, "failed", f"worker {worker.epitaph()} twice")
        if self.queue:
            self.start_worker(worker.index)

    def settle(self, worker: Worker, state: str, reason: str | None) -> None:
        """Write down and report how the worker's run ended."""
        assert worker.run is not None
        if state != "done":  # done is the trainer's to say
            mark(self.root / worker.run.folder, state, reason)
        self.watcher.ended(worker.run, worker.index, state, reason)
        worker.run = None

    def start_worker(self, index: int) -> None:
        self.workers[index] = Worker(index, self.environments[index], self.train)
        self.occupy(self.workers[index])

    def occupy(self, worker: Worker) -> None:
        """Give a free worker the next run, or send it home."""
        if self.queue:
            run = self.queue.popleft()
            self.watcher.started(run, worker.index)
            worker.give(run, self.root)
        else:
            worker.send(None)

    def stop(self) -> None:
        """End every process: politely, so that the trainer writes what it has, then by force."""
        for worker in self.workers.values():
            worker.process.terminate()
        try:
            for worker in self.workers.values():
                worker.process.join(GRACE_SECONDS)
        finally:
            for worker in self.workers.values():
                worker.end(timeout=0)
                if worker.run and read_status(self.root / worker.run.folder)["state"] == "running":
                    mark(self.root / worker.run.folder, "killed", None)


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


def mark(folder: Path, state: str, reason: str | None) -> None:
    """Write into status.json how a run ended whose own process could not, or did not, say so."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "status.json", read_status(folder) | {"state": state, "reason": reason, "finished": now})


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
