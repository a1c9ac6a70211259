"""Where the seconds of a run go: a clock for each phase, added up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Seconds by column, as metrics.jsonl and status.json hold them.

    Args:
        prefix: of the columns; a resumed run leaves out all that begin with "seconds" when it is compared.
    """

    def __init__(self, prefix: str = "seconds_"):
        self.prefix = prefix
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Count what happens inside, an exception too, as this phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[f"{self.prefix}{phase}"] += time.perf_counter() - start
