"""A run's status.json, config.yaml and provenance.json."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import read_checksummed_json, read_checksummed_yaml, write_checksummed_json


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


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config.yaml; empty where it has none yet.

    Raises:
        Damaged, ConfigError: where it cannot be read.
    """
    path = folder / "config.yaml"
    return read_checksummed_yaml(path, remedy(folder)) if path.exists() else {}


def read_provenance(folder: Path) -> dict[str, Any]:
    """A run's provenance.json; empty where it has none yet.

    Raises:
        Damaged: where it cannot be read.
    """
    path = folder / "provenance.json"
    return read_checksummed_json(path, remedy(folder)) if path.exists() else {}


def remedy(folder: Path) -> str:
    return f"Delete {folder} to train the run again."
