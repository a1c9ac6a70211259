"""Training of one run on as many local processes as its configuration asks for; they end together."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ddpo_bench.child_processes import starting
from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.process_errors import ProcessLost, packed, unpacked
from ddpo_bench.training.rank import be_rank
from ddpo_bench.training.status import write_end

TRAIN = "ddpo_bench.training.trainer:train"
CONTEXT = multiprocessing.get_context("spawn")
POLITE_SECONDS = 10.0  # for rank 0 to save its state where the run is interrupted
GRACE_SECONDS = 3.0  # for the others to notice that one has ended, and for rank 0 to write it down
LONGEST_WAIT = 1.0  # seconds; who cancels a Ray task interrupts Python without a signal, which would end a wait
Row = dict[str, Any]


def train_on_processes(config: RunConfig, folder: Path, on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Train, as `trainer.train` does in one process, on the processes and GPUs of `config.resources`.

    Args:
        on_row: called in this process.
    Raises:
        ConfigError: where the machine has too few GPUs.
        ProcessLost: where a process was killed; the run can be resumed.
        Exception: what `trainer.train` raised in whichever process.
    """
    import torch

    available = torch.cuda.device_count()
    if mistake := lacking_gpus(config, available):
        raise ConfigError([mistake])
    gpus = config.resources.gpus_of(available)
    if config.resources.processes == 1 and bool(gpus) == bool(available):
        from ddpo_bench.training import trainer

        trainer.train(config, folder, on_row)
    else:
        gc.collect()  # a suite's worker may have trained a run itself before, whose memory is a process's now
        torch.cuda.empty_cache()
        Ranks(config, folder, on_gpus=gpus > 0).train(TRAIN, on_row)


def lacking_gpus(config: RunConfig, available: int) -> str | None:
    """What is wrong with the resources of a run on a machine with so many GPUs; None where they suffice."""
    needed = config.resources.gpus_of(available)
    if needed <= available:
        return None
    remedy = f"Set resources.processes to {available}, or" if available else "Set"
    return (
        f"resources: {config.resources.processes} processes need {needed} GPUs, and this machine shows {available}. "
        f"{remedy} resources.gpus to 0."
    )


class Weight(IntEnum):
    """How much a reason to end says about the cause."""

    NOTHING = 0
    CONSEQUENCE = 1  # another process is gone
    ERROR = 2
    DEATH = 3  # by SIGKILL, after which others may fail in any way
    OURS = 4  # an interrupt, or what `on_row` raised


class Ranks:
    """The processes of one run, and why their work ends where it does so early."""

    def __init__(self, config: RunConfig, folder: Path, on_gpus: bool):
        self.config = config
        self.folder = folder
        self.on_gpus = on_gpus
        self.count = config.resources.processes
        self.processes: list[BaseProcess] = []
        self.running: dict[int, BaseProcess] = {}
        self.pipes: dict[int, Connection] = {}  # to those that may still say something
        self.explained: set[int] = set()  # those that have said what ended them
        self.cause: BaseException | None = None
        self.weight = Weight.NOTHING
        self.deadline = math.inf

    def train(self, train: str, on_row: Callable[[Row], None]) -> None:
        """Train to the end; whatever this is, no process is left behind.

        Args:
            train: "module:function" that trains one run, called in every process.
        """
        from torch.distributed import TCPStore

        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # for as long as the processes live
        try:
            for rank in range(self.count):
                self.start(rank, train, store.port)
            while not self.is_over():
                self.follow(on_row)
        finally:
            for process in self.processes:
                process.kill()
                process.join()
        finished = self.processes[0].exitcode == 0
        if self.cause and not finished:
            write_end(self.folder, self.processes[0].pid, self.cause)
        if self.cause and (not finished or self.weight == Weight.OURS):
            raise self.cause

    def start(self, rank: int, train: str, port: int) -> None:
        ours, theirs = CONTEXT.Pipe()
        arguments = (rank, self.group(rank, port), train, self.config, self.folder, theirs)
        process = CONTEXT.Process(target=be_rank, args=arguments)
        with starting(self.variables()):
            process.start()
        theirs.close()
        self.processes.append(process)
        self.running[rank], self.pipes[rank] = process, ours

    def variables(self) -> dict[str, str]:
        """What a process must find when it imports torch: one thread where there is no GPU, as a suite's worker has."""
        if self.on_gpus:
            return {}
        threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return threads | {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}

    def group(self, rank: int, port: int) -> dict[str, str]:
        """How the processes find each other: through a store that is held here, so that no port is raced for."""
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.count),
            "LOCAL_WORLD_SIZE": str(self.count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",
        }

    def is_over(self) -> bool:
        """Whether all have ended; or one has for a known reason, and rank 0 has had time to write it down."""
        known = self.weight > Weight.CONSEQUENCE and 0 not in self.running
        return not self.running or known or time.monotonic() > self.deadline

    def follow(self, on_row: Callable[[Row], None]) -> None:
        """Wait until a process says something or ends."""
        left = max(0.0, min(LONGEST_WAIT, self.deadline - time.monotonic()))
        try:
            wait([*self.pipes.values(), *(process.sentinel for process in self.running.values())], left)
            for rank, process in list(self.running.items()):
                if rank in self.pipes and self.pipes[rank].poll():
                    self.hear(rank, on_row)
                elif not process.is_alive():
                    self.count_out(rank)
        except KeyboardInterrupt as interrupt:
            if self.weight == Weight.OURS:
                raise
            self.end_with(interrupt, Weight.OURS)
            self.processes[0].terminate()

    def hear(self, rank: int, on_row: Callable[[Row], None]) -> None:
        try:
            said = self.pipes[rank].recv()
        except (EOFError, OSError):
            del self.pipes[rank]
            return
        if isinstance(said, bytes):
            error = unpacked(said)
            self.explained.add(rank)
            self.end_with(error, Weight.CONSEQUENCE if isinstance(error, ProcessLost) else Weight.ERROR)
            return
        answer = None
        try:
            on_row(said)
        except BaseException as error:  # rank 0 raises it too, and so ends as a single process does
            self.end_with(error, Weight.OURS)
            answer = packed(error)
        with suppress(OSError):
            self.pipes[rank].send(answer)

    def count_out(self, rank: int) -> None:
        process = self.running.pop(rank)
        self.pipes.pop(rank, None)
        if process.exitcode and rank not in self.explained:
            killed = process.exitcode == -signal.SIGKILL
            self.end_with(lost(rank, self.count, process.exitcode), Weight.DEATH if killed else Weight.ERROR)

    def end_with(self, error: BaseException, weight: Weight) -> None:
        """The work ends, for this reason unless there is one of more weight, or an earlier one of the same."""
        if weight > self.weight:
            self.cause, self.weight = error, weight
        patience = POLITE_SECONDS if weight == Weight.OURS else GRACE_SECONDS
        self.deadline = min(self.deadline, time.monotonic() + patience)


def lost(rank: int, count: int, exitcode: int) -> ProcessLost:
    how = f"was killed (signal {-exitcode})" if exitcode < 0 else f"ended with exit code {exitcode}"
    return ProcessLost(f"process {rank} of {count} {how}")
