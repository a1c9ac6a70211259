"""status.json: how a run stands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ddpo_bench.checksummed import write_checksummed_json
from ddpo_bench.run_folder.status import read_status


class Stop(Exception):
    """Raised by a run's `on_row` to end it before its last epoch: it counts as killed, and can go on later."""


@dataclass
class Status:
    """State of a run folder, written at every change.

    Attributes:
        state: queued, running, done, failed or killed.
        reason: why it failed or was killed.
        epoch, epochs: finished, planned.
        started, finished: ISO 8601, UTC.
        seconds: spent, over all sessions of the run.
        seconds_start: of them until the first epoch could begin: importing, loading the model and a checkpoint.
        seconds_checkpoint: of them writing checkpoints.
        seconds_files: of them writing metrics, to loggers and to the suite's book.
        pid: of the process that works or worked on it.
        metrics_crc32: checksum of metrics.jsonl, once the run is done.
    """

    path: Path
    epochs: int
    state: str = "queued"
    reason: str | None = None
    epoch: int = 0
    started: str | None = None
    finished: str | None = None
    seconds: float = 0.0
    seconds_start: float = 0.0
    seconds_checkpoint: float = 0.0
    seconds_files: float = 0.0
    pid: int = field(default_factory=os.getpid)
    metrics_crc32: int | None = None

    @classmethod
    def of(cls, folder: Path, epochs: int) -> Status:
        """As status.json says, or a new one.

        Raises:
            Damaged: where it cannot be read.
        """
        held = read_status(folder)
        known = {key: held[key] for key in {f.name for f in fields(cls)} & held.keys()}
        return cls(folder / "status.json", **(known | {"epochs": epochs, "pid": os.getpid()}))

    def begin(self) -> None:
        self.state, self.reason, self.finished, self.metrics_crc32 = "running", None, None, None
        self.started = self.started or now()
        self.session, self.spent_before = time.perf_counter(), self.seconds
        self.write()

    def progress(self, epoch: int) -> None:
        self.epoch = epoch
        self.write()

    def is_ready(self) -> None:
        """The first epoch can begin."""
        self.seconds_start += time.perf_counter() - self.session

    @contextmanager
    def measure(self, phase: Literal["checkpoint", "files"]) -> Iterator[None]:
        """Count what happens inside as this phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            name = f"seconds_{phase}"
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)

    def end(self, state: str, reason: str | None = None) -> None:
        self.state, self.reason, self.finished = state, reason, now()
        self.write()

    def write(self) -> None:
        self.seconds = self.spent_before + time.perf_counter() - self.session
        plain = {key: value for key, value in asdict(self).items() if key != "path"}
        write_checksummed_json(self.path, plain)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
