"""The worker processes of a command that a test has started."""

from __future__ import annotations

from pathlib import Path


def workers_of(session: int) -> list[int]:
    """Process ids of a command's workers: all in its session, except for itself and the helper of multiprocessing."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z" and "spawn_main" in command:
            found.append(int(stat.parent.name))
    return found
