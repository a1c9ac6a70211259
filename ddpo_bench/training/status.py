"""status.json: the state of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ddpo_bench.checksummed import write_checksummed_json
from ddpo_bench.files import DiskTrouble
from ddpo_bench.process_errors import ProcessLost
from ddpo_bench.run_folder.status import mark, read_status


class Stop(Exception):
    """Raised by `on_row` to end a run before its last epoch; it counts as killed, and can be resumed."""


def end_after(error: BaseException) -> tuple[str, str]:
    """The state of a run that an exception has ended, and the reason."""
    if isinstance(error, KeyboardInterrupt):
        return "killed", "interrupted"
    if isinstance(error, (Stop, DiskTrouble, ProcessLost)):
        return "killed", str(error)
    return "failed", f"{type(error).__name__}: {error}"


def write_end(folder: Path, pid: int | None, error: BaseException) -> None:
    """Write why a run has ended, where its process of this number could not, or took a consequence for the cause."""
    with suppress(OSError):  # of a disk that is full, which is then the reason
        held, (state, reason) = read_status(folder), end_after(error)
        if held.get("pid") == pid and (held["state"], held["reason"]) != (state, reason):
            mark(folder, state, reason)


@dataclass
class Status:
    """The state of a run, written at every change.

    Attributes:
        path: the path of status.json.
        epochs: number of planned epochs.
        state: queued, running, done, failed or killed.
        reason: why the run failed or was killed.
        epoch: number of finished epochs.
        started, finished: times in ISO 8601, UTC.
        seconds: time spent over all sessions of the run.
        seconds_start: the part of it before the first epoch: imports, loading the model and a checkpoint.
        seconds_checkpoint: the part of it spent on writing checkpoints.
        seconds_files: the part of it spent on writing metrics, to loggers and to the run queue too.
        pid: the process that works, or last worked, on the run.
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
        """Read status.json, or make a new status where there is none.

        Raises:
            Damaged: where the file is damaged.
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
        """Record that the first epoch can begin."""
        self.seconds_start += time.perf_counter() - self.session

    @contextmanager
    def measure(self, phase: Literal["checkpoint", "files"]) -> Iterator[None]:
        """Add the time in the block to this phase."""
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
