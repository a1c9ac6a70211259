"""The run queue, of runs and of trials: claims are atomic, dead workers' items come back, and none is done twice."""

import json
import os
from unittest.mock import Mock, call

import fake_trainer
import pytest
from optuna.trial import TrialState
from queues import sweep_place, tuning_place

from ddpo_bench.process_errors import ProcessLost
from ddpo_bench.sweep import lease
from ddpo_bench.sweep.lease import Heartbeat
from ddpo_bench.sweep.queue_item import Claim, Outcome, end_of
from ddpo_bench.sweep.run_queue import DEATHS
from ddpo_bench.sweep.worker import train_all

DONE = Outcome("done", values=[1.0])
PPO = {"name": "ppo", "clip_range": 0.1}


@pytest.fixture(params=["runs", "trials"])
def place(request, tmp_path):
    """Of four items."""
    return runs_place(tmp_path) if request.param == "runs" else tuning_place(tmp_path, trials=4)


@pytest.fixture
def runs(tmp_path):
    """Of two cells and two seeds."""
    return runs_place(tmp_path)


def runs_place(folder):
    return sweep_place(folder, matrix={"algorithm": ["frozen", PPO]}, seeds=[0, 1])


def entered(place):
    queue = place.open()
    queue.enter()
    return queue


def stored(queue, item):
    """All attempts at an item, closed duplicates too."""
    trials = queue.studies[item.study].get_trials(deepcopy=False)
    return [trial for trial in trials if trial.user_attrs["item"] == item.name]


def kill(queue, claim):
    """As if a worker had died that had taken this attempt."""
    queue.storage.set_trial_user_attr(claim.trial_id, "worker", lease.this_process() | {"born": "1"})


def write(folder, state, epoch, *rewards):
    """What a trainer leaves in a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps({"state": state, "epoch": epoch, "seconds": 2.5, "reason": None}))
    rows = [{"epoch": k + 1, "queries": 4, "reward_mean": r} for k, r in enumerate(rewards)]
    rows += [{"epoch": epoch, "eval/jpeg_compressibility": -1.5}] if state == "done" else []
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_item_is_claimed_once_in_its_order_by_whoever_asks_first(place):
    queues = [place.open() for _ in range(3)]
    queues[0].enter()
    claims = [queues[k % 3].claim() for k in range(4)]
    assert [claim.item.name for claim in claims] == [item.name for item in queues[0].items]
    assert all(queues[k % 3].still_ours(claim) for k, claim in enumerate(claims))
    assert [queue.claim() for queue in queues] == [None] * 3


def test_entering_at_once_gives_no_item_two_workers(place):
    first, second = place.open(), place.open()
    for queue in (first, second):  # as two commands do that start at once, each before it sees the other's entries
        for item in queue.items:
            item.enter(queue.studies[item.study], [])
    claims = [claim for _ in range(4) for queue in (first, second) if (claim := queue.claim())]
    assert len({claim.item.name for claim in claims}) == len(claims) == 4
    for claim in claims:
        write(claim.item.folder, "done", 3)
        first.close(claim, DONE)
    assert first.claim() is None
    assert second.settled()
    ends = [end_of(trial) for item in first.items for trial in stored(first, item)]
    assert sorted(ends) == ["done"] * 4 + ["duplicate"] * 4


@pytest.mark.parametrize("done", [False, True])
def test_a_worker_that_dies_over_a_second_entry_neither_takes_the_item_nor_enters_it_again(place, done):
    queue = entered(place)
    claim = queue.claim()
    claim.item.enter(queue.studies[claim.item.study], [])
    second = Claim(claim.item, stored(queue, claim.item)[1]._trial_id)
    queue.storage.set_trial_state_values(second.trial_id, TrialState.RUNNING)  # and it dies before it looks
    kill(queue, second)
    Heartbeat(claim.item.folder, lambda: True).write()
    if done:
        write(claim.item.folder, "done", 3, -2.0)
        queue.close(claim, DONE)
    queue.recover()
    assert queue.still_ours(claim) != done
    assert (claim.item.folder / lease.HEARTBEAT).exists()
    assert [end_of(trial) for trial in stored(queue, claim.item)] == ["done" if done else None, "duplicate"]
    assert len([*iter(queue.claim, None)]) == 3


def test_a_live_workers_item_is_left_alone_and_a_dead_ones_comes_back(place):
    queue = entered(place)
    ours, dead = queue.claim(), queue.claim()
    kill(queue, dead)
    queue.recover()
    assert queue.still_ours(ours)
    assert not queue.still_ours(dead)
    assert not queue.settled()
    waiting = [claim.item for claim in iter(queue.claim, None)]
    assert dead.item in waiting
    assert ours.item not in waiting


def test_an_item_at_whose_same_epoch_every_worker_dies_is_given_up(place):
    queue = entered(place)
    for _ in range(DEATHS):
        claim = queue.claim()
        assert claim.item is queue.items[0]
        kill(queue, claim)
        queue.recover()
    last = queue.attempts()[claim.item][-1]
    assert (end_of(last), last.user_attrs["reason"]) == ("failed", f"{DEATHS} workers died in epoch 1")
    queue.enter()
    assert queue.claim().item is queue.items[1]
    if claim.item.state() == "failed":  # as a run's folder says then
        queue.enter(retry_failed=True)
        assert queue.claim().item is claim.item


@pytest.mark.parametrize("times", [1, DEATHS])
def test_a_run_that_loses_a_process_is_attempted_again_as_after_a_workers_death(tmp_path, times):
    queue, lost, watcher = sweep_place(tmp_path).open(), [], Mock()
    queue.enter()

    def train(config, folder, on_row):
        if config.algorithm.name == "frozen" and len(lost) < times:
            lost.append(folder)
            raise ProcessLost("process 1 of 2 was killed (signal 9)")
        fake_trainer.train(config, folder, on_row)

    train_all(queue, train, watcher)
    frozen, other = queue.items
    ends = [end_of(attempt) for attempt in queue.attempts()[frozen]]
    assert ends == (["died", "done"] if times == 1 else ["died"] * (DEATHS - 1) + ["failed"])
    assert (frozen.state(), other.state()) == ("done" if times == 1 else "failed", "done")
    assert call(frozen.run, "killed", "process 1 of 2 was killed (signal 9)") in watcher.ended.mock_calls


def test_an_attempt_can_be_ended_once_only(place):
    queue, other = entered(place), place.open()
    claim = queue.claim()
    assert other.close(claim, DONE)
    assert not queue.close(claim, Outcome("failed", "too late"))
    assert queue.attempts()[claim.item][-1].state == TrialState.COMPLETE
    assert not queue.still_ours(claim)


def test_a_claim_is_signed_after_its_heartbeat_is_there(place, monkeypatch):
    queue = entered(place)
    signed = []
    set_attribute = queue.storage.set_trial_user_attr

    def sign(trial_id, key, value):
        signed.append((key, (queue.items[0].folder / lease.HEARTBEAT).exists()))
        set_attribute(trial_id, key, value)

    monkeypatch.setattr(queue.storage, "set_trial_user_attr", sign)
    assert queue.claim()
    assert signed == [("worker", True)]
    assert queue.has_claimed(os.getpid())
    assert not queue.has_claimed(1)


def test_a_trial_of_the_study_carries_cell_seed_curve_value_and_cost(runs):
    queue = entered(runs)
    claim = queue.claim()
    queue.storage.set_trial_intermediate_value(claim.trial_id, 1, -2.0)
    write(claim.item.folder, "done", 2, -2.0, -1.75)
    queue.close_as_on_disk(claim)
    (trial,) = queue.attempts()[claim.item]
    assert (trial.user_attrs["cell"], trial.user_attrs["seed"]) == ("frozen", 0)
    assert trial.intermediate_values == {1: -2.0}
    assert trial.value == -1.5
    assert trial.user_attrs["seconds"] == 2.5


def test_what_was_done_before_there_was_a_queue_is_entered_as_done(runs):
    queue = runs.open()
    write(queue.items[0].folder, "done", 2, -2.0, -1.75)
    queue.enter()
    queue.enter()
    (trial,) = queue.attempts()[queue.items[0]]
    assert trial.state == TrialState.COMPLETE
    assert trial.value == -1.5
    assert trial.intermediate_values == {1: -2.0, 2: -1.75}


@pytest.mark.parametrize("ahead", [-300.0, 0.0, 300.0])
def test_heartbeats_are_judged_by_the_clock_that_dates_them(runs, monkeypatch, ahead):
    queue = entered(runs)
    living, dead = queue.claim(), queue.claim()
    for claim in (living, dead):
        elsewhere = {"host": "elsewhere", "space": "", "pid": 1, "born": "1"}
        queue.storage.set_trial_user_attr(claim.trial_id, "worker", elsewhere)
    old = dead.item.folder / lease.HEARTBEAT
    os.utime(old, (old.stat().st_mtime - 90, old.stat().st_mtime - 90))
    ours = lease.time.time
    monkeypatch.setattr(lease.time, "time", lambda: ours() + ahead)  # of this host; files keep the time of their server
    queue.recover()
    assert queue.still_ours(living)
    assert not queue.still_ours(dead)
    (trial,) = [trial for trial in queue.attempts()[dead.item] if end_of(trial) == "died"]
    assert trial.user_attrs["reason"] == "its worker on elsewhere showed no heartbeat for 60 s in epoch 1"
