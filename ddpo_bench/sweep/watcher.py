"""What a display of a sweep must offer."""

from __future__ import annotations

from typing import Any, Protocol

from ddpo_bench.sweep.plan import PlannedRun


class Watcher(Protocol):
    """Is told what happens to the runs."""

    def started(self, run: PlannedRun, worker: str) -> None:
        """worker: host and process, as "host:pid"."""

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        """One row of the run's metrics.jsonl, or {"epoch", "sampled"} while an epoch is being sampled."""

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        """state: done, failed, or killed, after which the run goes on in another worker."""
