"""A run's metrics.jsonl: one row an epoch, which counts the reward queries so far, and one an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import Damaged, check_crc32
from ddpo_bench.run_folder.status import read_status, remedy

Row = dict[str, Any]


def read_rows(folder: Path) -> list[Row]:
    """The rows so far, without one that is being written.

    Raises:
        Damaged: where a line cannot be read, or the rows of a finished run are not those that it wrote.
    """
    path = folder / "metrics.jsonl"
    check_crc32(path, read_status(folder).get("metrics_crc32"), remedy(folder))
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [parse(line, f"{path}, line {number}", folder) for number, line in enumerate(lines, start=1)]


def is_evaluation(row: Row) -> bool:
    return "queries" not in row


def final_reward(folder: Path, reward: str) -> float | None:
    """The reward that a run was trained on, in its last evaluation."""
    values = [row[f"eval/{reward}"] for row in read_rows(folder) if f"eval/{reward}" in row]
    return float(values[-1]) if values else None


def last_evaluation(folder: Path) -> Row:
    """The newest row of an evaluation; empty where there is none."""
    rows = [row for row in read_rows(folder) if is_evaluation(row)]
    return rows[-1] if rows else {}


def learning_curve(folder: Path) -> dict[int, float]:
    """Mean reward of each epoch so far."""
    return {row["epoch"]: row["reward_mean"] for row in read_rows(folder) if not is_evaluation(row)}


def parse(text: bytes, where: str, folder: Path) -> Row:
    try:
        value = json.loads(text)
    except ValueError:  # not JSON, or not text
        raise Damaged(f"{where}: is damaged: not valid JSON. {remedy(folder)}") from None
    if not isinstance(value, dict):
        found = type(value).__name__
        raise Damaged(f"{where}: is damaged: expected a JSON object, found {found}. {remedy(folder)}")
    return value
