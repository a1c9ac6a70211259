"""Training in a process that a launcher has started, torchrun or `accelerate launch`, as one of several of a run.

No process here watches over the others.  So each looks after itself: a signal ends it even while it waits in a
collective, where Python's own handlers are not called, and one of those that are left says which process was killed.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ddpo_bench.alive import birth, process_space
from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.process_errors import ProcessLost, tell, what_was_told
from ddpo_bench.quiet import log_other_ranks
from ddpo_bench.training.rank import join_group, leave_group
from ddpo_bench.training.status import end_after, write_end

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 5.0  # seconds after a signal for Python to hear of it, before a process that is stuck ends itself
MEETING = timedelta(minutes=5)
SETTLING_SECONDS = 1.0  # for a process whose connections are closed to be gone, or to have said why
INTERRUPTED, LOST = 128 + signal.SIGINT, 2  # exit codes
Row = dict[str, Any]


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher has started this process as one of a group, perhaps of one."""
    return all(name in environment for name in VARIABLES)


def is_first() -> bool:
    """Whether this process, of all that a launcher has started, writes the files and speaks to the user."""
    return os.environ["RANK"] == "0"


def train_launched(config: RunConfig, folder: Path, on_row: Callable[[Row], None], terminal: int, quiet: bool) -> None:
    """Train as `trainer.train` does, together with the launcher's other processes.

    Args:
        on_row: called in the first process alone.
        terminal: descriptor on which a process says its last where no other can.
        quiet: whether what the others print goes to output.log.
    Raises:
        ConfigError: where the machine has fewer GPUs than processes.
        ProcessLost: where another process was killed; the run can be resumed.
        Exception: what `trainer.train` raised in whichever process.
    """
    from ddpo_bench.training import trainer

    if mistake := too_many_processes():
        raise ConfigError([mistake])
    with watching(folder, terminal) as watch:
        join_group()
        watch.meet()
        if quiet and not is_first():  # which has made the folder meanwhile
            log_other_ranks(folder / "output.log")
        try:
            trainer.train(config, folder, on_row if is_first() else lambda row: None)
        except BaseException as error:
            cause = watch.cause_of(error)
            if cause is error:
                raise
            raise cause from error
        leave_group()


def too_many_processes() -> str | None:
    """What is wrong where a launcher has started more processes on this machine than it has GPUs, if any."""
    import torch

    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if not gpus or processes <= gpus:
        return None
    return f"{processes} processes were started on a machine with {gpus} GPUs, and each needs one. Start {gpus}."


class Watch:
    """What a process knows of the others, and how it ends where it is stuck."""

    def __init__(self, folder: Path, terminal: int):
        self.folder = folder
        self.terminal = terminal
        self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.processes: list[dict[str, Any]] = []
        self.heard = threading.Event()  # a signal's Python handler has been called
        self.ending = False  # further signals, such as the launcher's where a process was killed, change nothing
        self.over = threading.Event()

    def meet(self) -> None:
        """Learn which processes the others are, through the store by which they have found each other."""
        from torch.distributed import PrefixStore, TCPStore

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=MEETING, wait_for_workers=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self.store = PrefixStore(f"ddpo-bench/{attempt}", store)
        self.store.set(str(self.rank), json.dumps(this_process()))
        self.processes = [json.loads(self.store.get(str(rank))) for rank in range(self.count)]

    def cause_of(self, error: BaseException) -> BaseException:
        """What ended the run, of which an interrupt or a broken connection may only be a consequence.

        It is written into status.json, by the first process or, where that was killed, by the next.
        """
        self.ending = True
        with suppress(Exception):  # the store is gone with the process that held it
            self.store.set(f"{self.rank} has left", "")
        cause = error
        if isinstance(error, (ProcessLost, KeyboardInterrupt)) and (found := self.settle()):
            cause = found
            tell(cause)
        if self.rank == 0:
            write_end(self.folder, os.getpid(), cause)
        elif str(cause) == self.words(0) and self.rank == min(set(range(self.count)) - set(self.dead())):
            write_end(self.folder, self.processes[0]["pid"], cause)
            self.say(cause)
        return cause

    def settle(self) -> BaseException | None:
        """What another process has told, or that one was killed; None where neither shows itself in a moment."""
        end = time.monotonic() + SETTLING_SECONDS
        found = None
        while time.monotonic() < end and (found is None or isinstance(found, KeyboardInterrupt)):
            if dead := self.dead():
                return ProcessLost(self.words(dead[0]))
            found = what_was_told()
            time.sleep(0.02)
        return found

    def words(self, rank: int) -> str:
        return f"process {rank} of {self.count} was killed"

    def dead(self) -> list[int]:
        """The ranks of this machine that are gone and have not left by themselves."""
        here = this_process()["machine"]
        gone = [
            rank
            for rank, process in enumerate(self.processes)
            if process["machine"] == here and birth(process["pid"]) != process["born"]
        ]
        with suppress(Exception):
            return [rank for rank in gone if not self.store.check([f"{rank} has left"])]
        return gone

    def leave_when_stuck(self, signals: int) -> None:
        """Wait for a signal, and then for the process to end by itself.

        Args:
            signals: descriptor of a pipe into which the system writes the number of each signal.
        """
        while (number := os.read(signals, 1)) and number[0] not in SIGNALS:
            pass
        ended = self.heard if self.rank == 0 else self.over  # the first one may take its time, to save its state
        if number and not ended.wait(PATIENCE) and not self.over.is_set():
            self.leave()

    def leave(self) -> NoReturn:
        cause = self.cause_of(KeyboardInterrupt())
        if self.rank == 0:
            self.say(cause)
        os._exit(INTERRUPTED if isinstance(cause, KeyboardInterrupt) else LOST)

    def say(self, cause: BaseException) -> None:
        state, reason = end_after(cause)
        again = " Run the same command again to resume." if state == "killed" else ""
        with suppress(OSError):
            os.write(self.terminal, f"{self.folder}: {state}: {reason}.{again}\n".encode())


def this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"machine": [platform.node(), process_space()], "pid": pid, "born": birth(pid)}


@contextmanager
def watching(folder: Path, terminal: int) -> Iterator[Watch]:
    """Watch over this process inside the block.

    Signals interrupt the first one as ever.  The others ignore them at first, so that it does not wait for them in
    vain, and end with it.
    """
    watch = Watch(folder, terminal)
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handler(number: int, frame: FrameType | None) -> None:
        watch.heard.set()
        usual = before[signal.Signals(number)]
        if watch.rank == 0 and callable(usual) and not watch.ending:
            usual(number, frame)

    for number, usual in before.items():
        if watch.rank or callable(usual):
            signal.signal(number, handler)
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch.leave_when_stuck, args=(signals,), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        signal.set_wakeup_fd(-1)
        os.close(wakeup)
        if not watch.ending:
            for number, usual in before.items():
                signal.signal(number, usual)
