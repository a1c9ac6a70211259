"""TensorBoard and W&B get the rows of metrics.jsonl; neither needs the network."""

from __future__ import annotations

import builtins
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ddpo_bench.config import RunConfig
from ddpo_bench.training.loggers import MissingExtra, make_logger
from ddpo_bench.training.trainer import train


def test_tensorboard_holds_every_number_of_every_row(tiny_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tiny_run("logger=tensorboard", "epochs=2", algorithm="frozen"), tmp_path)
    events = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for row in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()):
        for key in row.keys() - {"epoch"}:
            values = {event.step: event.value for event in events.Scalars(key)}
            assert values[row["epoch"]] == pytest.approx(row[key], rel=1e-6, abs=1e-6)


def test_wandb_works_offline(
    tiny_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = make_logger(tiny_run("logger=wandb"), tmp_path)
    logger.log({"epoch": 1, "reward_mean": 0.5})
    logger.close()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    end = time.monotonic() + 60  # another process writes it, late where the machine is busy
    while b"reward_mean" not in file.read_bytes():
        assert time.monotonic() < end, "W&B wrote no metric"
        time.sleep(0.2)


@pytest.mark.parametrize("logger", ["wandb", "tensorboard"])
def test_a_logger_that_is_not_installed_is_named_with_its_remedy(
    tiny_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=rf"pip install 'ddpo-bench\[{logger}\]'") as raised:
        make_logger(tiny_run(f"logger={logger}"), tmp_path)
    assert "\n" not in str(raised.value)


def test_without_a_logger_nothing_further_is_imported_or_written(
    tiny_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run()
    monkeypatch.setattr(builtins, "__import__", lambda *args: pytest.fail("an import"))
    logger = make_logger(config, tmp_path)
    logger.log({"epoch": 1, "reward_mean": 0.5})
    logger.close()
    assert not list(tmp_path.iterdir())
