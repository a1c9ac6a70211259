"""Worker processes of this machine: started, watched, started again where they die, ended with the command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from ddpo_bench.child_processes import follow_parent, starting
from ddpo_bench.files import FULL, DiskTrouble
from ddpo_bench.signals import interrupt
from ddpo_bench.sweep.follow import Follower
from ddpo_bench.sweep.room import Room, room_for

GRACE_SECONDS = 15.0  # for a worker to end by itself before it is killed
POLL_SECONDS = 0.5  # between two questions what the workers did
EARLY_FAILURES = 3  # workers in a row that may fail before they claim anything
EARLY_KILLS = 30  # that may be killed before they do, which says less about the installation


class WorkersDied(Exception):
    """Workers die before they begin: something is wrong with the machine or the installation, not with a run."""


class Pool:
    """The workers of one command."""

    def __init__(
        self,
        target: Callable[..., None],
        args: tuple[Any, ...],
        count: int,
        follower: Follower[Any],
        room: Room | None = None,
    ):
        """What the workers do, and how many there are.

        Args:
            target, args: function and arguments of a worker process.
            count: processes at a time.
            follower: of the queue that they work on, asked twice a second to tell what they did.
            room: which of them holds which GPUs; None is as the runs in the queue ask for.
        """
        self.target = target
        self.args = args
        self.queue = follower.queue
        self.follower = follower
        room = room or room_for(item.resources for item in self.queue.items)
        self.environments = room.environments(count)
        self.processes: dict[int, BaseProcess] = {}
        self.early_deaths = 0

    def finish(self) -> None:
        """Work until nothing is left to do; on any exception, KeyboardInterrupt too, no process is left behind.

        Raises:
            WorkersDied: where workers keep dying before they claim a run.
            OSError: where one ended because nothing more can be written.
        """
        try:
            for index in range(len(self.environments)):
                self.start(index)
            while self.processes:
                wait([process.sentinel for process in self.processes.values()], POLL_SECONDS)
                for index, process in list(self.processes.items()):
                    if not process.is_alive():
                        self.replace(index, process)
                self.follower.poll()
        finally:
            self.stop()
            self.follower.poll()

    def start(self, index: int) -> None:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=be_worker, args=(self.target, self.args))
        with starting(self.environments[index]):
            process.start()
        self.processes[index] = process

    def replace(self, index: int, process: BaseProcess) -> None:
        """A process has ended: at the end of the work, or by a death that its run and we survive."""
        del self.processes[index]
        if process.exitcode == 0:
            return
        if process.exitcode in FULL:  # nobody can continue
            raise OSError(process.exitcode, os.strerror(process.exitcode))
        self.early_deaths = 0 if self.queue.has_claimed(process.pid) else self.early_deaths + 1
        if self.early_deaths >= (EARLY_FAILURES if process.exitcode and process.exitcode > 0 else EARLY_KILLS):
            raise WorkersDied(f"{self.early_deaths} workers died before they began, the last with {exit_of(process)}.")
        self.queue.recover()
        if not self.queue.settled():
            self.start(index)

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
            self.queue.recover()


def be_worker(target: Callable[..., None], args: tuple[Any, ...]) -> None:
    """What a process of a Pool does: it can be ended politely, and ends with the process that started it."""
    follow_parent()
    signal.signal(signal.SIGTERM, interrupt)
    try:
        target(*args)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except DiskTrouble as trouble:
        sys.exit(trouble.number)  # by which the Pool knows


def exit_of(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"
