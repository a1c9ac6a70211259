"""What a run's folder holds, without what the clock and the memory decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TIMED = ("seconds_", "images_per_second", "memory_peak_mb")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl that two runs of one configuration share, bit for bit."""
    return [{key: value for key, value in row.items() if not key.startswith(TIMED)} for row in rows_of(folder)]
