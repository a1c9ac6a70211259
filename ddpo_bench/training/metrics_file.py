"""metrics.jsonl: one row a line, appended and flushed; rows past the last checkpoint are dropped on resuming."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ddpo_bench.files import write_text


class MetricsFile:
    """Append-only rows of one run.

    Args:
        keep_epochs: rows of later epochs are dropped: a resumed run writes them again.
    """

    def __init__(self, path: Path, keep_epochs: int):
        self.path = path
        kept = [line for line in complete_lines(path) if json.loads(line)["epoch"] <= keep_epochs]
        write_text(path, "".join(kept))

    def append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def complete_lines(path: Path) -> list[str]:
    """Lines that end in a newline; a process killed while writing leaves one that does not."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
