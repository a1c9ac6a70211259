"""A run that is SIGKILLed and resumed ends with the numbers of an uninterrupted one, byte for byte except timings."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killable import DieAtRow
from run_rows import numbers
from warm_processes import WARM

from ddpo_bench.config import RunConfig
from ddpo_bench.training.trainer import train

pytestmark = pytest.mark.long

SAC = {"name": "sac", "critic_updates": 2, "actor_updates": 1, "batch": 8}  # which has the most to resume


def session(config: RunConfig, folder: Path, *on_row: Callable[[dict[str, Any]], None]) -> Any:
    """A process of its own that trains in the folder."""
    process = WARM.Process(target=train, args=(config, folder, *on_row))
    process.start()
    return process


def finish(config: RunConfig, folder: Path) -> float:
    """Train to the end; returns the seconds it took."""
    start = time.perf_counter()
    process = session(config, folder)
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - start


def results(folder: Path) -> list[Any]:
    """All that a run found, without what the clock and the memory decide."""
    kept = [json.dumps(row) for row in numbers(folder)]
    return kept + [(path.name, path.read_bytes()) for path in sorted((folder / "samples").iterdir())]


@pytest.fixture(scope="module")
def unbroken(
    tiny_run: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, list[Any], float]:
    """Configuration, results and seconds of a run that nothing stopped."""
    config, folder = tiny_run("epochs=4", algorithm=SAC), tmp_path_factory.mktemp("unbroken")
    finish(config, folder / "warmup")  # the first child waits for the imports
    seconds = finish(config, folder / "measured")
    return config, results(folder / "measured"), seconds


def test_a_run_killed_at_random_moments_ends_with_the_same_numbers(
    unbroken: tuple[RunConfig, list[Any], float], tmp_path: Path
) -> None:
    config, expected, seconds = unbroken
    moments = random.Random(0)
    for _ in range(3):
        process = session(config, tmp_path)
        process.join(moments.uniform(0.2, 0.9) * seconds)
        process.kill()
        process.join()
    finish(config, tmp_path)
    assert results(tmp_path) == expected


def test_a_run_killed_between_a_row_and_its_checkpoint_ends_with_the_same_numbers(
    unbroken: tuple[RunConfig, list[Any], float], tmp_path: Path
) -> None:
    config, expected, _ = unbroken
    for rows in (1, 2, 2, 3):
        process = session(config, tmp_path, DieAtRow(rows))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"
    finish(config, tmp_path)
    assert results(tmp_path) == expected
