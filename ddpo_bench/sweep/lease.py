"""Who holds a run, and whether they are alive: a claim names a process, and a heartbeat in the run folder shows it."""

from __future__ import annotations

import os
import platform
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ddpo_bench.sealed import Damaged, read_sealed_json, write_sealed_json

HEARTBEAT = "heartbeat.json"
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


def is_alive(holder: dict[str, Any], folder: Path, since: float) -> bool:
    """Whether the holder of a run still works on it.

    A process on this host is looked up; one elsewhere must have shown a heartbeat within the lease.

    Args:
        since: Unix time of the claim, for a holder that has not shown a heartbeat yet.
    """
    if (holder.get("host"), holder.get("space")) == (platform.node(), process_space()):
        return holder.get("born") is not None and birth(holder["pid"]) == holder["born"]
    with suppress(FileNotFoundError):
        since = max(since, (folder / HEARTBEAT).stat().st_mtime)
    return time.time() - since < LEASE_SECONDS


def process_space() -> str:
    """The namespace in which process numbers mean something; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def birth(pid: int) -> str | None:
    """When a process started, in the system's own units; None where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() or not signalled(pid) else "alive"
    return None if fields[0] == "Z" else fields[19]


def signalled(pid: int) -> bool:
    """Whether a process exists, on systems without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Heartbeat:
    """Shows, while it is open, that a run is being worked on, and how far its epoch is."""

    def __init__(self, folder: Path, still_ours: Callable[[], bool]):
        """still_ours: whether the claim stands; where it does not any more, this process ends itself at once."""
        self.path = folder / HEARTBEAT
        self.still_ours = still_ours
        self.news: dict[str, Any] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        write_sealed_json(self.path, self.news)
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self.thread.join()
        self.path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Until the training is over; where nothing can be shown for half a lease, end before others take over."""
        shown = time.monotonic()
        while not self.over.wait(BEAT_SECONDS):
            try:
                if not self.still_ours():
                    os._exit(1)  # somebody took over while this process was stopped: nothing more may be written
                self.write()
                shown = time.monotonic()
            except Exception:  # of a disk, or whatever a database raises that is out of reach for a moment
                traceback.print_exc()
                if time.monotonic() - shown > LEASE_SECONDS / 2:
                    os._exit(1)

    def write(self) -> None:
        try:
            write_sealed_json(self.path, self.news)
        except OSError:  # a full disk still takes a new time, and that is what others look at
            os.utime(self.path)


def news_of(folder: Path) -> dict[str, Any]:
    """What the heartbeat of a run last told: {"epoch", "sampled"}, or nothing."""
    try:
        return read_sealed_json(folder / HEARTBEAT, "")
    except (FileNotFoundError, Damaged):  # the next beat writes it anew
        return {}
