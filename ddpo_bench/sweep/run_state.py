"""What a run folder says of its run, and the last words of a run whose own process could not write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import Damaged, check_crc32, read_checksummed_json, write_checksummed_json


def read_status(folder: Path) -> dict[str, Any]:
    """A run's status.json; a run that never started is queued.

    Raises:
        Damaged: where it cannot be read.
    """
    path = folder / "status.json"
    return read_checksummed_json(path, remedy(folder)) if path.exists() else {"state": "queued", "reason": None}


def mark(folder: Path, state: str, reason: str | None) -> None:
    """Write into status.json how a run ended whose own process could not, or did not, say so."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_checksummed_json(
        folder / "status.json", read_status(folder) | {"state": state, "reason": reason, "finished": now}
    )


def final_reward(folder: Path, reward: str) -> float | None:
    """The reward that a run was trained on, in its last evaluation."""
    values = [row[f"eval/{reward}"] for row in whole_rows(folder) if f"eval/{reward}" in row]
    return float(values[-1]) if values else None


def last_evaluation(folder: Path) -> dict[str, Any]:
    """The newest evaluation row; empty where there is none."""
    rows = [row for row in whole_rows(folder) if "queries" not in row]
    return rows[-1] if rows else {}


def learning_curve(folder: Path) -> dict[int, float]:
    """Mean reward of each epoch so far."""
    return {row["epoch"]: row["reward_mean"] for row in whole_rows(folder) if "reward_mean" in row}


def whole_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without one that is still being written.

    Raises:
        Damaged: where a line cannot be read, or the rows of a finished run are not those that it wrote.
    """
    path = folder / "metrics.jsonl"
    check_crc32(path, read_status(folder).get("metrics_crc32"), remedy(folder))
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        raise Damaged(f"{path}: is damaged: a line is not JSON. {remedy(folder)}") from None


def remedy(folder: Path) -> str:
    return f"Delete {folder} to train the run again."
