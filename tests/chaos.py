"""Commands with the fake trainer whose workers are killed at random."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from worker_processes import workers_of

TESTS = Path(__file__).parent
PATIENCE = 240.0  # seconds


def start(folder: Path, *words: str | Path, epoch_seconds: str = "0.15", **environment: str) -> subprocess.Popen[bytes]:
    """A command in a session of its own, whose output goes to folder/output-*.txt."""
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"FAKE_EPOCH_SECONDS": epoch_seconds, "PYTHONPATH": path} | environment
    command = [sys.executable, TESTS / "fake_command.py", *words]
    with (folder / f"output-{time.monotonic_ns()}.txt").open("w") as output:
        return subprocess.Popen(
            list(map(str, command)), env=variables, stdout=output, stderr=output, start_new_session=True
        )


def said(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.glob("output-*.txt"))


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
