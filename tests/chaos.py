"""Commands with the fake trainer whose workers are killed at random."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
PATIENCE = 240.0  # seconds


def start(
    folder: Path, *words: str | Path, program: Sequence[str | Path] = (TESTS / "fake_command.py",), **environment: str
) -> subprocess.Popen[bytes]:
    """A command in a session of its own, whose output goes to folder/output-*.txt.

    Args:
        program: arguments of Python; without any, ddpo-bench with the fake trainer.
        environment: variables that are added to those of this process.
    """
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"output-{time.monotonic_ns()}.txt").open("w") as output:
        return subprocess.Popen(
            list(map(str, [sys.executable, *program, *words])),
            env=os.environ | {"FAKE_EPOCH_SECONDS": "0.15", "PYTHONPATH": path} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )


def heed_interrupts() -> None:
    """As from a terminal; a background job of a shell, as the tests may be, ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def said(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("output-*.txt")))


def harass(commands: Sequence[subprocess.Popen[bytes]], rng: random.Random, mean_pause: float, kills: int) -> int:
    """Kill a random worker of a random command after random pauses, until all commands have ended; returns how many.

    Args:
        kills: at most, since on a busy machine a worker takes longer to start than the next kill to come.
    """
    killed, end = 0, time.monotonic() + PATIENCE
    while any(command.poll() is None for command in commands):
        assert time.monotonic() < end, "waited too long"
        time.sleep(rng.expovariate(1 / mean_pause))
        workers = [pid for command in commands for pid in workers_of(command.pid)]
        if workers and killed < kills:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
    return killed


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def processes_of(session: int) -> dict[int, str]:
    """The command line of each process of a session, zombies apart (Linux)."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
    return found


def workers_of(session: int) -> list[int]:
    """Process ids of a command's workers: all in its session, except for itself and the helper of multiprocessing."""
    return [pid for pid, command in processes_of(session).items() if "spawn_main" in command]
