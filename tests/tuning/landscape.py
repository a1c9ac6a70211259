"""Stands in for the trainer: the final reward is a known function of the settings and the seed."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpo_bench.config import RunConfig
from ddpo_bench.files import InUse, exclusive, write_json, write_yaml
from ddpo_bench.run_folder.metrics import read_rows

BEST = 1e-4  # the learning rate with the highest reward
EPOCH_SECONDS = float(os.environ.get("FAKE_EPOCH_SECONDS", "0"))
BREAKS_ABOVE = 5e-2


def reward_of(config: RunConfig) -> float:
    """Falls with the square of the distance to BEST in decades; seeds differ by a constant."""
    rate = config.algorithm.options.get("learning_rate", 1.0)
    return -(math.log10(rate / BEST) ** 2) + 0.01 * (config.seed % 7)


def kl_of(config: RunConfig) -> float:
    return 1e6 * float(config.algorithm.options.get("learning_rate", 0.0))


def train(config: RunConfig, folder: Path, on_row: Callable[[dict[str, Any]], None]) -> None:
    """Write what the trainer writes, and go on where it stopped; one worker at a time."""
    try:
        with exclusive(folder / "busy", "two workers at one run"):
            train_alone(config, folder, on_row)
    except InUse:
        (folder / "overlap").touch()
        raise


def train_alone(config: RunConfig, folder: Path, on_row: Callable[[dict[str, Any]], None]) -> None:
    with (folder / "sessions").open("a") as file:
        file.write("one\n")
    write_yaml(folder / "config.yaml", config.to_dict())
    if config.algorithm.options.get("learning_rate", 0.0) > BREAKS_ABOVE:
        raise FloatingPointError("the loss is NaN")
    rows = read_rows(folder)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for epoch in range(len(rows), config.epochs + 1):
        time.sleep(EPOCH_SECONDS)
        share = epoch / config.epochs
        row = {"epoch": epoch, "queries": 4 * epoch, "reward_mean": share * reward_of(config), "images_per_second": 9.0}
        append(folder, row if epoch else {"epoch": 0, "eval/jpeg_compressibility": 0.0, "eval/kl_reference_nats": 0.0})
        write_json(folder / "status.json", status("killed", epoch, config.epochs))
        on_row(row)
    final = {"eval/jpeg_compressibility": reward_of(config), "eval/kl_reference_nats": kl_of(config)}
    append(folder, {"epoch": config.epochs, **final, "eval/diversity": 0.1})
    write_json(folder / "status.json", status("done", config.epochs, config.epochs))


def append(folder: Path, row: dict[str, Any]) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def status(state: str, epoch: int, epochs: int) -> dict[str, Any]:
    return {"state": state, "reason": None, "epoch": epoch, "epochs": epochs, "seconds": 1.0, "pid": os.getpid()}
