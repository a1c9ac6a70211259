"""A worker that dies at each of its writes to the run queue, and meets others there: every item is done exactly once.

Of runs and of trials: to try one run of a trial is to work through the queue of runs too.
"""

import os
from pathlib import Path
from unittest.mock import Mock

import fake_trainer
import pytest
from crash_points import at_write, dies_at, in_a_process
from queues import only_record, sweep_place, tuning_place

from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep import lease
from ddpo_bench.sweep.worker import attempt, train_all
from ddpo_bench.tuning.runner import queue_of_runs, try_all
from ddpo_bench.tuning.trial import RunningTrial

SILENT = Mock()  # the watcher
BASE = {"epochs": 1, "samples_per_epoch": 4}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Runs:
    """One run, which has been entered.  `telling` are the deaths after which the rest differ in kind."""

    writes = 8  # claim, worker, the curve's one point, four facts, the end
    telling = (1, 3, 5)  # unsigned, at work, and done as the disk says

    def __init__(self, folder: Path):
        self.place = sweep_place(folder, base=BASE, matrix={})
        self.place.open().enter()

    def open(self):
        return self.place.open()

    def finish(self, queue):
        train_all(queue, fake_trainer.train, SILENT)

    def attempt(self, queue, claim):
        attempt(queue, claim, fake_trainer.train, SILENT)

    def check(self, queue):
        (attempts,) = queue.attempts().values()
        assert all(trial.state.is_finished() for trial in attempts)
        assert [trial.state.name for trial in attempts].count("COMPLETE") == 1


class Trials:
    """One trial on one seed, which has been entered."""

    writes = (
        18  # the runs' study, claim, worker, parameter, hash; the run's entry and its eight; reward; end, reason, state
    )
    telling = (9,)  # its run at work, so that there are two dead claims

    def __init__(self, folder: Path):
        self.place = tuning_place(folder, epochs=1, trials=1, seeds=[100])
        self.place.open().enter()

    def open(self):
        return self.place.open()

    def finish(self, studies):
        try_all(self.place, studies, fake_trainer.train, SILENT)

    def attempt(self, studies, claim):
        RunningTrial(studies, claim, queue_of_runs(self.place), fake_trainer.train, SILENT).finish()

    def check(self, studies):
        (trial,) = only_record(studies)["trials"]
        assert trial["state"] == "complete"
        assert trial["params"] == {"algorithm.learning_rate": 1e-3}
        assert trial["values"] == pytest.approx([-1 + 0.01 * (100 % 7)])
        assert not list(studies.root.glob("tuning/*-trial-*"))


@pytest.fixture(params=[Runs, Trials])
def use(request, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # processes die here, not the machine
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)  # an entry whose taker did not sign it is looked at only once
    return request.param


def pass_by(one):
    """Do what a worker does that asks the queue once."""

    def work():
        queue = one.open()
        queue.recover()
        if claim := queue.claim():
            one.attempt(queue, claim)

    assert in_a_process(work) == 0


def check(one, deaths):
    one.check(one.open())
    (home,) = one.place.root.glob("runs/*/seed-*")
    assert read_status(home)["state"] == "done"
    assert len((home / "metrics.jsonl").read_text().splitlines()) == 3
    assert len(fake_trainer.sessions(home)) <= deaths + 1
    assert not (home / "overlaps.txt").exists()
    assert not (home / lease.HEARTBEAT).exists()


def deaths(use, folder, before=()):
    """Places at which workers died at writes `before` and then at 1, 2, 3, ..., until one is not reached."""
    number = 1
    while True:
        one = use(folder / "-".join(map(str, ["died", *before, number])))
        assert all(dies_at(earlier, one.open, one.finish) for earlier in before)
        if not dies_at(number, one.open, one.finish):
            return
        yield one
        number += 1


def test_a_worker_may_die_at_any_write(use, tmp_path):
    places = 0
    for one in deaths(use, tmp_path):
        places += 1
        one.finish(one.open())
        check(one, 1)
    assert places == use.writes


@pytest.mark.long
def test_the_worker_after_it_may_die_at_any_write_too(use, tmp_path):
    places = 0
    for first in use.telling:
        for one in deaths(use, tmp_path, (first,)):
            places += 1
            one.finish(one.open())
            check(one, 2)
    assert places > use.writes


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_two_workers_that_find_a_dead_ones_item_may_meet_at_any_write(use, tmp_path, when):
    meetings = 0
    for first in use.telling:
        number, met = 1, True
        while met:
            one = use(tmp_path / f"{first}-meet-{number}")
            assert dies_at(first, one.open, one.finish)
            queue = one.open()
            with at_write(number, lambda one=one: pass_by(one), when) as written:
                one.finish(queue)
            check(one, 2)
            met = len(written) >= number
            number, meetings = number + 1, meetings + met
    assert meetings > use.writes
