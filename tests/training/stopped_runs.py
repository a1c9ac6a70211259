"""Runs that are stopped as by Ctrl-C, and what their folders say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddpo_bench.config import RunConfig
from ddpo_bench.training.trainer import train

MakeConfig = Callable[..., RunConfig]


def status_of(folder: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return status


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    """Ctrl-C when the row of an epoch has been written, before its checkpoint."""

    def on_row(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch and "sampled" not in row:
            raise KeyboardInterrupt

    return on_row


def stopped(config: RunConfig, folder: Path, epoch: int = 2) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, stop_after(epoch))
