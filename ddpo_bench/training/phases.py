"""The time of a run's phases, added up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Seconds by column, as in metrics.jsonl and status.json.

    Args:
        prefix: prefix of the columns; comparisons of resumed runs leave out all that begin with "seconds".
    """

    def __init__(self, prefix: str = "seconds_"):
        self.prefix = prefix
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Add the time in the block to this phase, also if it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[f"{self.prefix}{phase}"] += time.perf_counter() - start
