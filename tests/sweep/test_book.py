"""The book of a sweep: claims are atomic, dead workers' runs come back, and damage is named or repaired."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from crash_points import in_a_process
from optuna.trial import TrialState

from ddpo_bench.checksummed import write_checksummed_json
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep import lease
from ddpo_bench.sweep.book import DEATHS, Book, BookPlace, Claim
from ddpo_bench.sweep.lease import Heartbeat
from ddpo_bench.sweep.plan import choices, plan
from ddpo_bench.sweep.storage import StorageError, open_storage
from ddpo_bench.sweep.suite import load_suite

DEAD = {"host": "elsewhere", "space": "", "pid": 1, "born": "1"}


@pytest.fixture
def place(tmp_path: Path) -> BookPlace:
    """Of a suite of two cells and two seeds."""
    suite = {
        "base": {"epochs": 2},
        "matrix": {"algorithm": ["frozen", {"name": "ppo", "clip_range": 0.1}]},
        "seeds": [0, 1],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(suite))
    loaded = load_suite(tmp_path / "mine.yaml")
    return BookPlace(None, "mine", choices(loaded), plan(loaded), tmp_path / "results")


def write(book: Book, folder: str, state: str, epoch: int, *rewards: float) -> None:
    """What a trainer leaves in a run's folder."""
    home = book.root / folder
    home.mkdir(parents=True, exist_ok=True)
    (home / "status.json").write_text(json.dumps({"state": state, "epoch": epoch, "seconds": 2.5, "reason": None}))
    rows: list[dict[str, Any]] = [{"epoch": k + 1, "queries": 4, "reward_mean": r} for k, r in enumerate(rewards)]
    rows += [{"epoch": epoch, "eval/jpeg_compressibility": -1.5}] if state == "done" else []
    (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def states(book: Book) -> list[str]:
    return sorted(trial.state.name for trials in book.trials().values() for trial in trials)


def test_every_run_is_claimed_once_by_whoever_asks_first(place: BookPlace) -> None:
    books = [place.open() for _ in range(3)]
    books[0].enter()
    claims = [books[k % 3].claim() for k in range(5)]
    assert claims[4] is None
    assert len({claim.run.folder for claim in claims if claim}) == 4
    assert all(claim and book.still_ours(claim) for claim, book in zip(claims[:4], [*books, books[0]], strict=True))


def test_runs_come_in_the_order_of_the_plan(place: BookPlace) -> None:
    book = place.open()
    book.enter()
    claims = [book.claim() for _ in place.runs]
    assert [claim.run for claim in claims if claim] == list(place.runs)


def test_entering_twice_gives_no_run_two_workers(place: BookPlace) -> None:
    first, second = place.open(), place.open()
    for run in place.runs:  # as two commands do that start at once, each before it sees the other's entries
        first.add(run)
        second.add(run)
    claims = [(first, second)[k % 2].claim() for k in range(len(place.runs))]
    assert len({claim.run.folder for claim in claims if claim}) == len(place.runs)
    assert first.claim() is None
    assert second.claim() is None
    assert states(first) == ["FAIL"] * 4 + ["RUNNING"] * 4


def claimed_beside_the_dead(book: Book) -> Claim:
    """The claim of a run whose second entry was taken by a worker that died before it looked for the first."""
    book.enter()
    claim = book.claim()
    assert claim is not None
    book.add(claim.run)
    _, second = book.trials()[str(claim.run.folder)]
    book.storage.set_trial_state_values(second._trial_id, TrialState.RUNNING)
    book.storage.set_trial_user_attr(second._trial_id, "worker", lease.this_process() | {"born": "1"})
    return claim


def test_a_worker_that_dies_over_a_second_entry_neither_takes_nor_completes_the_run(place: BookPlace) -> None:
    book = place.open()
    claim = claimed_beside_the_dead(book)
    folder = str(claim.run.folder)
    write(book, folder, "running", 1, -2.0)
    Heartbeat(book.root / folder, lambda: True).write()
    book.recover()
    assert book.still_ours(claim)
    assert read_status(book.root / folder)["state"] == "running"
    assert (book.root / folder / lease.HEARTBEAT).exists()
    assert [trial.user_attrs.get("end") for trial in book.trials()[folder]] == [None, "duplicate"]


def test_a_dead_second_entry_of_a_run_that_was_done_is_not_completed_too(place: BookPlace) -> None:
    book = place.open()
    claim = claimed_beside_the_dead(book)
    folder = str(claim.run.folder)
    write(book, folder, "done", 2, -2.0, -1.75)
    book.complete(claim)
    book.recover()
    assert [trial.user_attrs.get("end") for trial in book.trials()[folder]] == ["done", "duplicate"]
    assert [trial.state.name for trial in book.trials()[folder]] == ["COMPLETE", "FAIL"]


def test_what_another_worker_has_completed_is_left_as_it_is(place: BookPlace) -> None:
    book, other = place.open(), place.open()
    book.enter()
    claim = book.claim()
    assert claim is not None
    write(book, str(claim.run.folder), "done", 2, -2.0, -1.75)
    other.complete(claim)
    book.complete(claim)
    (trial,) = book.trials()[str(claim.run.folder)]
    assert trial.value == -1.5


def test_a_trial_carries_parameters_curve_value_and_cost(place: BookPlace) -> None:
    book = place.open()
    book.enter()
    claim = book.claim()
    assert claim is not None
    book.report(claim, 1, -2.0)
    book.report(claim, 2, -1.75)
    write(book, str(claim.run.folder), "done", 2, -2.0, -1.75)
    book.complete(claim)
    (trial,) = book.trials()[str(claim.run.folder)]
    assert trial.params == {"algorithm": "frozen", "seed": 0}
    assert trial.intermediate_values == {1: -2.0, 2: -1.75}
    assert trial.value == -1.5
    assert trial.user_attrs["seconds"] == 2.5
    assert trial.user_attrs["folder"] == str(claim.run.folder)


def test_values_of_one_name_are_told_apart_by_their_options(place: BookPlace) -> None:
    assert place.choices == {"algorithm": ["frozen", '{"clip_range": 0.1, "name": "ppo"}']}


def test_what_was_done_before_there_was_a_book_is_entered_as_done(place: BookPlace) -> None:
    book = place.open()
    write(book, str(place.runs[0].folder), "done", 2, -2.0, -1.75)
    book.enter()
    book.enter()
    (trial,) = book.trials()[str(place.runs[0].folder)]
    assert trial.state == TrialState.COMPLETE
    assert trial.value == -1.5
    assert trial.intermediate_values == {1: -2.0, 2: -1.75}


def test_a_live_workers_run_is_left_alone_and_a_dead_ones_comes_back(place: BookPlace) -> None:
    book = place.open()
    book.enter()
    ours, dead = book.claim(), book.claim()
    assert ours
    assert dead
    write(book, str(dead.run.folder), "running", 1, -2.0)
    book.storage.set_trial_user_attr(dead.trial_id, "worker", lease.this_process() | {"pid": 2**22 + 1})
    book.recover()
    assert book.still_ours(ours)
    assert not book.still_ours(dead)
    waiting = [claim.run for claim in iter(book.claim, None)]
    assert dead.run in waiting
    assert ours.run not in waiting


def test_a_process_that_got_a_dead_workers_number_is_not_the_worker() -> None:
    us = lease.this_process()
    assert lease.is_alive(us, Path("."), 0.0)
    assert not lease.is_alive(us | {"born": "1"}, Path("."), 0.0)


def test_a_worker_on_another_host_lives_as_long_as_its_heartbeat(place: BookPlace, tmp_path: Path) -> None:
    heartbeat = tmp_path / lease.HEARTBEAT
    heartbeat.write_text("{}")
    assert lease.is_alive(DEAD, tmp_path, 0.0)
    long_ago = heartbeat.stat().st_mtime - 2 * lease.LEASE_SECONDS
    os.utime(heartbeat, (long_ago, long_ago))
    assert not lease.is_alive(DEAD, tmp_path, 0.0)
    assert lease.is_alive({}, tmp_path, time.time())  # claimed just now, and not signed yet


@pytest.mark.parametrize("ahead", [-300.0, 0.0, 300.0])
def test_heartbeats_are_judged_by_the_clock_that_dates_them(
    place: BookPlace, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    book = place.open()
    book.enter()
    living, dead = book.claim(), book.claim()
    assert living
    assert dead
    for claim in (living, dead):
        book.storage.set_trial_user_attr(claim.trial_id, "worker", DEAD)
    old = book.root / dead.run.folder / lease.HEARTBEAT
    os.utime(old, (old.stat().st_mtime - 90, old.stat().st_mtime - 90))
    ours = time.time
    monkeypatch.setattr(lease.time, "time", lambda: ours() + ahead)  # of this host; files keep the time of their server
    book.recover()
    assert book.still_ours(living)
    assert not book.still_ours(dead)
    (trial,) = [trial for trial in book.trials()[str(dead.run.folder)] if trial.user_attrs.get("end") == "died"]
    assert trial.user_attrs["reason"] == "its worker on elsewhere showed no heartbeat for 60 s in epoch 1"


def test_where_nothing_can_be_written_our_own_clock_must_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease.time, "time", lambda: 7.0)
    assert lease.time_there(tmp_path / "missing") == 7.0
    assert lease.time_there(tmp_path) > 7.0
    assert not list(tmp_path.iterdir())


def test_a_claim_is_signed_after_its_heartbeat_is_there(place: BookPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    book = place.open()
    book.enter()
    signed = []
    set_attribute = book.storage.set_trial_user_attr

    def sign(trial_id: int, key: str, value: Any) -> None:
        signed.append((key, (book.root / place.runs[0].folder / lease.HEARTBEAT).exists()))
        set_attribute(trial_id, key, value)

    monkeypatch.setattr(book.storage, "set_trial_user_attr", sign)
    assert book.claim()
    assert signed == [("worker", True)]


def test_a_worker_that_leaves_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def overtaken() -> None:
        lease.BEAT_SECONDS = 0.01
        with Heartbeat(tmp_path, lambda: False) as heartbeat:
            heartbeat.over.wait(60)

    assert in_a_process(overtaken) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: another worker has taken the run over")
    assert line.endswith("This worker ends; another one goes on from the checkpoint.")


def test_a_run_that_is_worked_on_in_the_book_of_another_matrix_waits(place: BookPlace) -> None:
    """As when a suite is edited, and run in a second terminal, while it runs in the first."""
    first = place.open()
    first.enter()
    claim = first.claim()
    assert claim
    second = replace(place, name="mine-edited").open()
    second.enter()
    folder = first.root / claim.run.folder
    lease.show(folder, {})
    held = json.loads((folder / lease.HEARTBEAT).read_text())
    write_checksummed_json(
        folder / lease.HEARTBEAT, {"worker": held["worker"] | {"pid": os.getppid(), "born": parents_birth()}}
    )
    others = [taken.run for taken in iter(second.claim, None)]
    assert len(others) == 3
    assert claim.run not in others
    assert not second.settled()
    write(first, str(claim.run.folder), "done", 2, -2.0, -1.75)
    first.complete(claim)
    assert second.claim() is None
    assert [trial.user_attrs["end"] for trial in second.trials()[str(claim.run.folder)]] == ["done"]


def parents_birth() -> str:
    birth = lease.birth(os.getppid())
    assert birth
    return birth


def test_a_run_at_whose_same_epoch_every_worker_dies_is_given_up(place: BookPlace) -> None:
    book = place.open()
    book.enter()
    first = str(place.runs[0].folder)
    write(book, first, "running", 1, -2.0)
    for _ in range(DEATHS):
        (waiting,) = [trial for trial in book.trials()[first] if trial.state == TrialState.WAITING]
        again = book.take(first, waiting)
        assert again is not None
        book.storage.set_trial_user_attr(again.trial_id, "worker", lease.this_process() | {"born": "1"})
        book.recover()
    folder = book.root / first
    assert read_status(folder)["state"] == "failed"
    assert read_status(folder)["reason"] == f"{DEATHS} workers died in epoch 2"
    assert not any(trial.state == TrialState.WAITING for trial in book.trials()[first])


def test_an_entry_that_a_crash_cut_short_is_dropped(place: BookPlace) -> None:
    place.open().enter()
    journal = place.root / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:40])
    book = place.open()
    assert journal.read_bytes().startswith(whole)
    assert len(book.trials()) == 4
    assert book.claim() is not None
    assert place.open().trials().keys() == book.trials().keys()


def test_a_damaged_book_is_named_with_its_remedy(place: BookPlace) -> None:
    place.open().enter()
    journal = place.root / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1][:20] + b"\n", *lines[2:]]))
    with pytest.raises(StorageError, match=r"study\.journal: is damaged .* Delete it") as raised:
        place.open()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql+nothing://host/x", "postgresql:/"])
def test_a_wrong_url_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^--storage ") as raised:
        open_storage(url, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_database_file_keeps_a_book_as_well(place: BookPlace, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'books.db'}"
    book = BookPlace(url, place.name, place.choices, place.runs, place.root).open()
    book.enter()
    assert len(list(iter(book.claim, None))) == 4
    assert not (place.root / "study.journal").exists()
