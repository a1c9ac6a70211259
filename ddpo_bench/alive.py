"""Whether a process of this machine lives: its number alone does not tell, since numbers are used again."""

from __future__ import annotations

import os
from pathlib import Path


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
    threads = int(fields[17])  # of a killed process the first may be gone before others, which hold its locks
    return None if fields[0] == "Z" and threads <= 1 else fields[19]


def signalled(pid: int) -> bool:
    """Whether a process exists, on systems without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
