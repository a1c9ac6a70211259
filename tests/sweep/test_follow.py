"""What one command tells of a sweep while others work on it too."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from watching import Clock, run_of

from ddpo_bench.config import Choice
from ddpo_bench.console import LiveDisplay, PlainLines
from ddpo_bench.sweep.follow import SweepFollower
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.progress import Progress
from ddpo_bench.sweep.queue_item import Claim, Outcome
from ddpo_bench.sweep.sweep_queue import QueuedRun, SweepPlace, SweepQueue


def planned(cell: str) -> PlannedRun:
    run = run_of(cell, 0)
    return replace(run, config=replace(run.config, reward=Choice("reward", "jpeg_compressibility", {})))


FLAKY, SLOW = planned("flaky"), planned("slow")
EPOCHS = FLAKY.config.epochs


@pytest.fixture
def place(tmp_path: Path) -> SweepPlace:
    return SweepPlace(None, "mine", [FLAKY, SLOW], tmp_path)


def claim_in_another_terminal(
    place: SweepPlace, run: PlannedRun, retry_failed: bool = False
) -> tuple[SweepQueue, Claim[QueuedRun]]:
    queue = place.open()
    queue.enter(retry_failed)
    claim = queue.for_runs([run]).claim()
    assert claim
    return queue, claim


def write(root: Path, run: PlannedRun, state: str, epochs: int) -> None:
    """What a trainer leaves."""
    folder = root / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [
        {"epoch": epoch, "queries": 4, "reward_mean": 1.0, "images_per_second": 2.0} for epoch in range(1, epochs + 1)
    ]
    rows += [{"epoch": epochs, "eval/jpeg_compressibility": 1.0}] if state == "done" else []
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = {"state": state, "reason": None, "epoch": epochs, "epochs": EPOCHS, "seconds": 1.0}
    (folder / "status.json").write_text(json.dumps(status))


@pytest.mark.parametrize("live", [True, False])
def test_a_failed_run_that_another_terminal_retries_joins_what_is_shown(place: SweepPlace, live: bool) -> None:
    write(place.root, FLAKY, "failed", 1)
    queue, clock = place.open(), Clock()
    queue.enter()
    console = Console(file=io.StringIO(), width=100)
    progress = Progress([SLOW], clock=clock)
    display = LiveDisplay(progress, console) if live else PlainLines(progress)
    follower = SweepFollower(queue, display)
    slow = queue.claim()
    assert slow

    other, flaky = claim_in_another_terminal(place, FLAKY, retry_failed=True)
    follower.poll()
    clock.now += 10
    write(place.root, FLAKY, "running", 2)
    follower.poll()
    assert display.progress.with_running(2) == "0/2 runs done, 2 running"
    assert progress.seconds_left() == pytest.approx(10 * (2 * EPOCHS - 2))
    for mine, claim, run in ((other, flaky, FLAKY), (queue, slow, SLOW)):
        write(place.root, run, "done", EPOCHS)
        mine.close_as_on_disk(claim)
    follower.poll()
    assert str(display.progress) == "2/2 runs done"
    assert progress.seconds_left() == 0


def test_a_run_that_fails_and_is_retried_is_no_longer_failed(place: SweepPlace) -> None:
    queue = place.open()
    queue.enter()
    display = PlainLines(Progress([FLAKY, SLOW], clock=Clock()))
    follower = SweepFollower(queue, display)
    claim = queue.claim()
    assert claim
    write(place.root, FLAKY, "failed", 2)
    queue.close(claim, Outcome("failed", "no server"))
    follower.poll()
    assert str(display.progress) == "0/2 runs done, 1 failed"
    claim_in_another_terminal(place, FLAKY, retry_failed=True)
    follower.poll()
    assert display.progress.with_running(1) == "0/2 runs done, 1 running, 1 left"


def test_a_run_whose_folder_is_deleted_is_followed_from_its_first_epoch_again(place: SweepPlace) -> None:
    queue, clock = place.open(), Clock()
    write(place.root, SLOW, "done", EPOCHS)
    queue.enter()
    progress = Progress([FLAKY], 1, clock)
    follower = SweepFollower(queue, PlainLines(progress))
    for path in (place.root / SLOW.folder).iterdir():
        path.unlink()
    claim_in_another_terminal(place, SLOW)
    follower.poll()
    clock.now += 5
    write(place.root, SLOW, "running", 1)
    follower.poll()
    assert progress.runs[SLOW.folder].reached == 1
