"""A worker that dies at each of its writes to the book, in turn, and meets others there: a run is done exactly once."""

import os
from dataclasses import replace
from unittest.mock import Mock

import fake_training
import pytest
import yaml
from crash_points import at_write, dies_at, in_a_process

from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep import lease
from ddpo_bench.sweep.book import BookPlace
from ddpo_bench.sweep.plan import choices, plan
from ddpo_bench.sweep.suite import load_suite
from ddpo_bench.sweep.worker import attempt, work_through

SILENT = Mock()  # the watcher
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def make_place(tmp_path, monkeypatch):
    """Makes books of one run, which has been entered."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)  # an entry whose taker did not sign it is looked at only once
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"base": {"epochs": 1}, "seeds": [0]}))
    suite = load_suite(tmp_path / "mine.yaml")
    (run,) = plan(suite)
    light = replace(run, config=replace(run.config, policy=fake_training.NO_POLICY))

    def make(name):
        place = BookPlace(None, "mine", choices(suite), [light], tmp_path / name)
        place.open().enter()
        return place

    return make


def finish(book):
    work_through(book, fake_training.train, SILENT)


def pass_by(place):
    """Do what a worker does that looks at the book once."""

    def work():
        book = place.open()
        book.recover()
        if claim := book.claim():
            attempt(book, claim, fake_training.train, SILENT)

    assert in_a_process(work) == 0


def check(place, deaths):
    book = place.open()
    ((folder, trials),) = book.trials().items()
    assert all(trial.state.is_finished() for trial in trials)
    assert [trial.state.name for trial in trials].count("COMPLETE") == 1
    home = place.root / folder
    assert read_status(home)["state"] == "done"
    assert len((home / "metrics.jsonl").read_text().splitlines()) == 3
    assert len((home / "sessions.txt").read_text().splitlines()) <= deaths + 1
    assert not (home / "overlaps.txt").exists()
    assert not (home / lease.HEARTBEAT).exists()


def deaths(make_place, before=()):
    """Books at which workers died at writes `before` and then at 1, 2, 3, ..., until one is not reached."""
    number = 1
    while True:
        place = make_place("-".join(map(str, [*before, number])))
        assert all(dies_at(earlier, place.open, finish) for earlier in before)
        if not dies_at(number, place.open, finish):
            return
        yield number, place
        number += 1


def test_a_worker_may_die_at_any_write(make_place):
    places = []
    for _, place in deaths(make_place):
        places.append(place)
        finish(place.open())
        check(place, 1)
    assert len(places) == 8  # claim, worker, the curve's one point, four facts, the end


def test_the_worker_after_it_may_die_at_any_write_too(make_place):
    pairs = 0
    for first, _ in deaths(make_place):
        for _, place in deaths(make_place, (first,)):
            pairs += 1
            finish(place.open())
            check(place, 2)
    assert pairs > 50


@pytest.mark.parametrize("when", ["before", "after"])
def test_two_workers_that_find_a_dead_ones_run_may_meet_at_any_write(make_place, when):
    meetings = 0
    for first, _ in deaths(make_place):
        number, met = 1, True
        while met:
            place = make_place(f"{first}-meet-{number}")
            assert dies_at(first, place.open, finish)
            book = place.open()
            with at_write(number, lambda place=place: pass_by(place), when) as written:
                finish(book)
            check(place, 2)
            met = len(written) >= number
            number, meetings = number + 1, meetings + met
    assert meetings > 50
