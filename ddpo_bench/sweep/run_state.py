"""What a run folder says of its run, and the last words of a run whose own process could not write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddpo_bench.files import write_json


def read_status(folder: Path) -> dict[str, Any]:
    """A run's status.json; a run that never started is queued."""
    path = folder / "status.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"state": "queued", "reason": None}


def mark(folder: Path, state: str, reason: str | None) -> None:
    """Write into status.json how a run ended whose own process could not, or did not, say so."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "status.json", read_status(folder) | {"state": state, "reason": reason, "finished": now})


def final_reward(folder: Path, reward: str) -> float | None:
    """The reward that a run was trained on, in its last held-out evaluation."""
    values = [row[f"eval/{reward}"] for row in whole_rows(folder) if f"eval/{reward}" in row]
    return float(values[-1]) if values else None


def learning_curve(folder: Path) -> dict[int, float]:
    """Mean reward of each epoch so far."""
    return {row["epoch"]: row["reward_mean"] for row in whole_rows(folder) if "reward_mean" in row}


def whole_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without one that is still being written."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]
