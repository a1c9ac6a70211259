"""Termination by SIGTERM and SIGHUP as by Ctrl-C: the state is saved and no process is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = {signal.SIGTERM, signal.SIGHUP}


@contextmanager
def ending_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt; SIGHUP stays ignored where nohup has it ignored."""
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGTERM, interrupt)
    if before[signal.SIGHUP] != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def hang_up(signum: int, frame: FrameType | None) -> None:
    """Handle the first SIGHUP of a terminal that was closed; the shell and the system may both send one."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:  # nobody can read further output, and writing it must not fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    raise KeyboardInterrupt


def ignore_ending() -> None:
    """Ignore further signals while the program ends."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def hang_ups_held() -> Iterator[None]:
    """Block SIGHUP inside the block; a process started there keeps it blocked until it calls `leave_hang_ups`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def leave_hang_ups() -> None:
    """Ignore SIGHUP in a worker: a closing terminal signals the whole process group, and the parent decides."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
