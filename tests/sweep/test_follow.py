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
from ddpo_bench.sweep.book import Book, BookPlace, Claim
from ddpo_bench.sweep.follow import Follower
from ddpo_bench.sweep.forecast import Forecast
from ddpo_bench.sweep.plan import PlannedRun


def planned(cell: str) -> PlannedRun:
    run = run_of(cell, 0)
    config = replace(run.config, reward=Choice("reward", "jpeg_compressibility", {}))
    return replace(run, config=config, parameters={"reward": cell})


FLAKY, SLOW = planned("flaky"), planned("slow")
EPOCHS = FLAKY.config.epochs


@pytest.fixture
def place(tmp_path: Path) -> BookPlace:
    return BookPlace(None, "mine-00000000", {"reward": ["flaky", "slow"]}, [FLAKY, SLOW], tmp_path)


def claim_in_another_terminal(place: BookPlace, run: PlannedRun, retry_failed: bool = False) -> tuple[Book, Claim]:
    book = place.open()
    book.enter(retry_failed)
    claim = book.narrowed([run]).claim()
    assert claim
    return book, claim


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
def test_a_failed_run_that_another_terminal_retries_joins_what_is_shown(place: BookPlace, live: bool) -> None:
    write(place.root, FLAKY, "failed", 1)
    book, clock = place.open(), Clock()
    book.enter()
    console = Console(file=io.StringIO(), width=100)
    forecast = Forecast([SLOW], clock)
    display = LiveDisplay([SLOW], 0, console, forecast) if live else PlainLines([SLOW], 0, forecast)
    follower = Follower(book, display)
    slow = book.claim()
    assert slow

    other, flaky = claim_in_another_terminal(place, FLAKY, retry_failed=True)
    follower.look()
    clock.now += 10
    write(place.root, FLAKY, "running", 2)
    follower.look()
    assert display.tally.with_running(2) == "0/2 runs done, 2 running"
    assert forecast.seconds_left() == pytest.approx(10 * EPOCHS - 10)  # of the one whose first epoch is not over
    for mine, claim, run in ((other, flaky, FLAKY), (book, slow, SLOW)):
        write(place.root, run, "done", EPOCHS)
        mine.complete(claim)
    follower.look()
    assert str(display.tally) == "2/2 runs done"
    assert forecast.seconds_left() == 0


def test_a_run_that_fails_and_is_retried_is_no_longer_failed(place: BookPlace) -> None:
    book = place.open()
    book.enter()
    display = PlainLines([FLAKY, SLOW], 0, Forecast([FLAKY, SLOW], Clock()))
    follower = Follower(book, display)
    claim = book.claim()
    assert claim
    write(place.root, FLAKY, "failed", 2)
    book.close(claim, "failed", "no server")
    follower.look()
    assert str(display.tally) == "0/2 runs done, 1 failed"
    claim_in_another_terminal(place, FLAKY, retry_failed=True)
    follower.look()
    assert display.tally.with_running(1) == "0/2 runs done, 1 running, 1 left"


def test_a_run_whose_folder_is_deleted_is_followed_from_its_first_epoch_again(place: BookPlace) -> None:
    book, clock = place.open(), Clock()
    write(place.root, SLOW, "done", EPOCHS)
    book.enter()
    forecast = Forecast([FLAKY], clock)
    follower = Follower(book, PlainLines([FLAKY], 1, forecast))
    for path in (place.root / SLOW.folder).iterdir():
        path.unlink()
    claim_in_another_terminal(place, SLOW)
    follower.look()
    clock.now += 5
    write(place.root, SLOW, "running", 1)
    follower.look()
    assert forecast.runs[SLOW.folder].reached == 1
