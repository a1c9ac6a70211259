"""Who holds a run, and whether they are alive: a claim names a process, and a heartbeat in the run folder shows it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ddpo_bench.alive import birth, process_space
from ddpo_bench.checksummed import Damaged, read_checksummed_json, write_checksummed_json

HEARTBEAT = "heartbeat.json"
TAKEN_OVER = (
    "another worker has taken over the run, because it saw no heartbeat of this one for a while: its process was "
    "stopped, or its heartbeats did not reach the disk"
)
BEAT_SECONDS = 2.0
LEASE_SECONDS = 60.0  # a holder on another host that has not shown a heartbeat for so long is dead


def this_process() -> dict[str, Any]:
    """What tells this process from every other, one with the same number in another container or after a reboot too.

    Its age in seconds, at a worker's first claim, is what its start took.
    """
    born = birth(os.getpid())
    return {"host": platform.node(), "space": process_space(), "pid": os.getpid(), "born": born, "age": age(born)}


def age(born: str | None) -> float | None:
    """Seconds since a process started, of its `birth`; None where the system does not tell."""
    if born is None or not born.isdecimal():
        return None
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - int(born) / os.sysconf("SC_CLK_TCK"), 3)


def is_alive(holder: dict[str, Any], folder: Path, since: float, now: float | None = None) -> bool:
    """Whether the holder of a run still works on it.

    A process on this host is looked up; one elsewhere must have shown a heartbeat within the lease.

    Args:
        holder: as of `this_process`; empty where a claim has not been signed yet.
        since: Unix time of the claim, which counts until there is a heartbeat.
        now: of the clock that dates the files in `folder`; None asks it.
    """
    if is_here(holder):
        return holder.get("born") is not None and birth(holder["pid"]) == holder["born"]
    try:
        silent = age_of(folder / HEARTBEAT, now) if holder else time.time() - since
    except FileNotFoundError:  # not shown yet, or the run has ended meanwhile
        silent = time.time() - since
    return silent < LEASE_SECONDS


def is_here(holder: dict[str, Any]) -> bool:
    """Whether a process can be looked up from here."""
    return (holder.get("host"), holder.get("space")) == (platform.node(), process_space())


def age_of(path: Path, now: float | None = None) -> float:
    """Seconds since a file was written; now as of `is_alive`."""
    return max(0.0, (time_there(path.parent) if now is None else now) - path.stat().st_mtime)


def time_there(folder: Path) -> float:
    """Unix time by the clock that dates files in a folder, a file server's maybe; ours where nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".clock-") as file:
            file.write(b"?")
            file.flush()
            os.fsync(file.fileno())  # until then a network file system may give it our own time
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


class Heartbeat:
    """Shows, while it is open, who works on a run, and how far its epoch is."""

    def __init__(self, folder: Path, still_ours: Callable[[], bool]):
        """still_ours: whether the claim is still valid; where it is not, this process ends itself at once."""
        self.folder = folder
        self.still_ours = still_ours
        self.news: dict[str, Any] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        show(self.folder, self.news)
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self.thread.join()
        (self.folder / HEARTBEAT).unlink(missing_ok=True)

    def beat(self) -> None:
        """Until the training is over; where nothing can be shown for half a lease, end before others take over."""
        shown = time.monotonic()
        while not self.over.wait(BEAT_SECONDS):
            try:
                if not self.still_ours():
                    leave(self.folder, TAKEN_OVER)
                self.write()
                shown = time.monotonic()
            except Exception:  # of a disk, or whatever a database raises that is out of reach for a moment
                traceback.print_exc()
                if time.monotonic() - shown > LEASE_SECONDS / 2:
                    leave(self.folder, f"no heartbeat could be written for {LEASE_SECONDS / 2:.0f} s, as said above")

    def write(self) -> None:
        try:
            show(self.folder, self.news)
        except OSError:  # a full disk still takes a new time, and that is what others read
            os.utime(self.folder / HEARTBEAT)


def show(folder: Path, news: dict[str, Any]) -> None:
    """Write a heartbeat into the folder of a run, with what is new of its epoch."""
    write_checksummed_json(folder / HEARTBEAT, news)


def leave(folder: Path, why: str) -> NoReturn:
    """End this process at once, so that it writes nothing more to a run that others may take over, and say why."""
    print(f"{folder}: {why}. This worker ends; another one resumes from the checkpoint.", file=sys.stderr, flush=True)
    os._exit(1)


def news_of(folder: Path) -> dict[str, Any]:
    """What the heartbeat of a run last told: {"epoch", "sampled"}, or nothing."""
    try:
        return read_checksummed_json(folder / HEARTBEAT, "")
    except (FileNotFoundError, Damaged):  # the next beat writes it anew
        return {}
