"""Signals that end the program as Ctrl-C does: its state saved, no process left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = {signal.SIGTERM, signal.SIGHUP}


@contextmanager
def ending_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt; under nohup, which has SIGHUP ignored, it stays so."""
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
    """The terminal was closed; the shell and the system may both say so, and the second time changes nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:  # what is still to be said has no reader, and must not be what ends the program
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    raise KeyboardInterrupt


def ignore_ending() -> None:
    """Nothing is left to stop."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def hang_ups_held() -> Iterator[None]:
    """Keep SIGHUP waiting meanwhile; a process started in here has it blocked until it calls `leave_hang_ups`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def leave_hang_ups() -> None:
    """In a worker: a terminal that closes tells the whole group, and the parent decides."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
