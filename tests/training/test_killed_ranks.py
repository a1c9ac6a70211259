"""A run on several processes ends with the numbers of one, also when a process was killed and others took over."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_rows import numbers
from warm_processes import WARM

from ddpo_bench.config import Resources, RunConfig
from ddpo_bench.process_errors import ProcessLost
from ddpo_bench.training import launch
from ddpo_bench.training.launch import train_on_processes

pytestmark = pytest.mark.long

Make = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "CONTEXT", WARM)


@pytest.fixture(scope="module")
def alone(tiny_run: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on one process."""
    folder = tmp_path_factory.mktemp("alone")
    train_on_processes(tiny_run(), folder)
    return folder


def on(count: int, config: RunConfig) -> RunConfig:
    return replace(config, resources=Resources(processes=count))


def assert_same_numbers(folder: Path, expected: Path) -> None:
    rows, others = numbers(folder), numbers(expected)
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    for row, other in zip(rows, others, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-6)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def kill_at(epoch: int, rank: int) -> Callable[[dict[str, Any]], None]:
    """An `on_row` that kills a process between the row of an epoch and its checkpoint."""

    def on_row(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch and "queries" in row:
            ranks = sorted(multiprocessing.active_children(), key=lambda process: process.pid or 0)
            os.kill(ranks[rank].pid or 0, signal.SIGKILL)

    return on_row


def test_two_processes_make_the_files_and_numbers_of_one(tiny_run: Make, alone: Path, tmp_path: Path) -> None:
    train_on_processes(on(2, tiny_run()), tmp_path)
    assert_same_numbers(tmp_path, alone)
    assert files_of(tmp_path) == files_of(alone)


@pytest.mark.parametrize(("killed", "resumed_on"), [(0, 1), (1, 3)])
def test_a_run_whose_process_was_killed_resumes_on_any_number(
    killed: int, resumed_on: int, tiny_run: Make, alone: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProcessLost, match=rf"process {killed} of 2 was killed \(signal 9\)"):
        train_on_processes(on(2, tiny_run()), tmp_path, kill_at(2, killed))
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "killed"
    train_on_processes(on(resumed_on, tiny_run()), tmp_path)
    assert_same_numbers(tmp_path, alone)


def test_the_first_process_alone_logs(tiny_run: Make, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train_on_processes(on(2, tiny_run("epochs=1", "logger=tensorboard")), tmp_path)
    assert len(list(tmp_path.rglob("events.out.tfevents*"))) == 1
