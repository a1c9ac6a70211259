"""A worker that dies at each of its writes while it tunes, and meets others there: the records come out the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import landscape
import pytest
from crash_points import at_write, dies_at, in_a_process
from tuning_suites import only_record, tune_here

from ddpo_bench.sweep import lease
from ddpo_bench.sweep.runner import book_place
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.tuning.display import Quiet
from ddpo_bench.tuning.studies import Studies, TuningPlace
from ddpo_bench.tuning.trying import Trying
from ddpo_bench.tuning.worker import tune_through

Load = Callable[..., Suite]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)


class Place:
    """Of a suite whose one study has been entered."""

    def __init__(self, suite: Suite, root: Path):
        self.tuning = TuningPlace(None, suite, root)
        self.runs = book_place(suite, [], root, None)
        self.tuning.open().enter()

    def open(self) -> tuple[Studies, Any]:
        return self.tuning.open(), self.runs.open()

    def pass_by(self) -> None:
        """Do what a worker does that looks at the studies once."""

        def work() -> None:
            studies, book = self.open()
            studies.recover()
            if claim := studies.claim():
                Trying(studies, claim, book, landscape.train, Quiet()).finish()

        assert in_a_process(work) == 0


def finish(opened: tuple[Studies, Any]) -> None:
    tune_through(*opened, landscape.train, Quiet())


def deaths(suite: Suite, root: Path) -> Iterator[tuple[int, Place]]:
    """Places at which a worker died at its write 1, 2, 3, ..., until one is not reached."""
    number = 1
    while dies_at(number, (place := Place(suite, root / f"died-{number}")).open, finish):
        yield number, place
        number += 1


def test_a_worker_may_die_at_any_write(load: Load, tmp_path: Path) -> None:
    suite = load(trials=2, seeds=[100])
    undisturbed = only_record(tune_here(suite, tmp_path / "undisturbed"))
    number = 0
    for number, place in deaths(suite, tmp_path):
        finish(place.open())
        assert only_record(place.tuning.open()) == undisturbed, f"death at write {number}"
    assert number > 30


@pytest.mark.parametrize("first", [1, 4, 12])
def test_two_workers_that_find_a_dead_ones_trial_may_meet_at_any_write(load: Load, tmp_path: Path, first: int) -> None:
    suite = load(trials=1, seeds=[100])
    undisturbed = only_record(tune_here(suite, tmp_path / "undisturbed"))
    number, met = 1, True
    while met:
        place = Place(suite, tmp_path / f"meet-{number}")
        assert dies_at(first, place.open, finish)
        opened = place.open()
        with at_write(number, place.pass_by, "before") as written:
            finish(opened)
        assert only_record(place.tuning.open()) == undisturbed, f"met at write {number}"
        number, met = number + 1, len(written) >= number
    assert number > 15
