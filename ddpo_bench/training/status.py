"""status.json: how a run stands."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ddpo_bench.files import write_json


@dataclass
class Status:
    """State of a run folder, written at every change.

    Attributes:
        state: queued, running, done, failed or killed.
        reason: why it failed or was killed.
        epoch, epochs: finished, planned.
        started, finished: ISO 8601, UTC.
        seconds: spent, over all sessions of the run.
        pid: of the process that works or worked on it.
    """

    path: Path
    epochs: int
    state: str = "queued"
    reason: str | None = None
    epoch: int = 0
    started: str | None = None
    finished: str | None = None
    seconds: float = 0.0
    pid: int = field(default_factory=os.getpid)

    @classmethod
    def of(cls, folder: Path, epochs: int) -> Status:
        """As status.json says, or a new one."""
        path = folder / "status.json"
        if not path.exists():
            return cls(path, epochs)
        held = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, **(held | {"epochs": epochs, "pid": os.getpid()}))

    def begin(self) -> None:
        self.state, self.reason, self.finished = "running", None, None
        self.started = self.started or now()
        self.session, self.spent_before = time.perf_counter(), self.seconds
        self.write()

    def progress(self, epoch: int) -> None:
        self.epoch = epoch
        self.write()

    def end(self, state: str, reason: str | None = None) -> None:
        self.state, self.reason, self.finished = state, reason, now()
        self.write()

    def write(self) -> None:
        self.seconds = self.spent_before + time.perf_counter() - self.session
        plain = {key: value for key, value in asdict(self).items() if key != "path"}
        write_json(self.path, plain)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
