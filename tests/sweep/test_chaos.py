"""Workers are killed at random again and again: every run is done, once, with the numbers of an undisturbed sweep."""

import json
import random

import fake_trainer
import pytest
from chaos import harass, said, start
from queues import write_suite

from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.storage import open_storage
from ddpo_bench.sweep.suite import load_suite

KILLS = 8
HOSTS = ("castor", "pollux")


def share_and_check(folder, *options, storage=None):
    """Two hosts share a sweep of eight runs, and workers of both are killed."""
    suite = write_suite(folder / "suite.yaml", base={"epochs": 12, "samples_per_epoch": 4}, seeds=[0, 1, 2, 3])
    words = ["run", suite, "--results", folder, "--workers", "2", *options]
    commands = [start(folder, *words, FAKE_HOST=host) for host in HOSTS]
    killed = harass(commands, random.Random(2), mean_pause=0.7, kills=KILLS)
    output = said(folder)
    assert [command.returncode for command in commands] == [0, 0], output
    assert killed > 1
    assert all(f" {host}:" in output for host in HOSTS)
    check(folder / "suite", runs_of(load_suite(suite)), storage)


def check(root, runs, storage):
    """Each run done exactly once, by one worker at a time, with the rows of an undisturbed one."""
    for run in runs:
        home, alone = root / run.folder, root / "undisturbed" / run.folder
        alone.mkdir(parents=True)
        fake_trainer.train(run.config, alone, lambda row: None)
        assert (home / "metrics.jsonl").read_text() == (alone / "metrics.jsonl").read_text()
        assert json.loads((home / "status.json").read_text())["state"] == "done"
        assert not {"overlaps.txt", "heartbeat.json"} & {path.name for path in home.iterdir()}
    stored = open_storage(storage, root)
    (study,) = [study for study in stored.get_all_studies() if study.study_name == "suite"]
    attempts = stored.get_all_trials(study._study_id)
    complete = [attempt.user_attrs["item"] for attempt in attempts if attempt.state.name == "COMPLETE"]
    assert sorted(complete) == sorted(str(run.folder) for run in runs)
    assert all(attempt.state.is_finished() for attempt in attempts)
    if storage:
        stored._backend.engine.dispose()  # the end of the tests would find its connection open


@pytest.mark.long
def test_two_hosts_share_a_journal_while_workers_of_both_are_killed(tmp_path):
    share_and_check(tmp_path)
