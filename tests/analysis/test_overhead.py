"""`ddpo-bench profile`: what counts as overhead, a sum that can be checked by hand, and results that cannot tell."""

import json
import os
from datetime import datetime, timedelta

import fabricate
import optuna
import pytest
from fabricate import EPOCH, EVALUATION
from optuna.trial import TrialState

from ddpo_bench import cli
from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.overhead import EPOCH_PARTS, EVALUATION_PARTS, WHOLE, WorkerTime, profile
from ddpo_bench.run_folder.places import ResultsError
from ddpo_bench.sweep.lease import this_process
from ddpo_bench.sweep.storage import open_storage
from ddpo_bench.sweep.worker_times import worker_processes

WORK = 6 * 8.5 + 2 * 2.75
START = datetime(2026, 1, 1, 12)


@pytest.fixture
def results(tmp_path):
    """results/mine with frozen and ppo on two rewards, one seed, 60 seconds a run."""
    folder = fabricate.fabricate_suite(tmp_path / "results" / "mine", ("frozen", "ppo"), seeds=1)
    fabricate.measure_parts(folder)
    return folder


def write_queue(results, workers):
    """A run queue in which the runs are worked on in turn: [(age, [(start, end), ...]), ...], seconds after START."""
    storage = open_storage(None, results)
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine-0123abcd")
    folders = sorted(str(run.relative_to(results)) for run in results.glob("runs/*/*"))
    for pid, (age, spans) in enumerate(workers):
        for index, (start, end) in enumerate(spans):
            worker = this_process() | {"pid": pid, "age": age + 100 * index}
            trial = optuna.trial.create_trial(
                state=TrialState.COMPLETE, value=0.0, user_attrs={"item": folders.pop(), "worker": worker}
            )
            trial.datetime_start = START + timedelta(seconds=start)
            trial.datetime_complete = START + timedelta(seconds=end)
            storage.create_new_trial(study, trial)


def row_of(table, group, algorithm):
    (row,) = [row for row in table.rows if row.group == group and row.values["algorithm"] == algorithm]
    return {key: getattr(value, "value", value) for key, value in row.values.items()}


def test_all_that_is_not_sampling_reward_or_learning_is_overhead(results):
    table = profile(collect(results), "mine", results, None)
    row = row_of(table, "target_colour", "ppo")
    assert {part: row[part] for part in EPOCH_PARTS} == {part: 6 * seconds for part, seconds in EPOCH.items()}
    assert {part: row[part] for part in EVALUATION_PARTS} == {part: 2 * EVALUATION[part] for part in EVALUATION_PARTS}
    assert (row["start"], row["files"]) == (0.9, pytest.approx(0.6 + 0.2 + 2 * 0.05))
    assert row["other"] == pytest.approx(60 - WORK - 0.9 - 0.9)
    assert row["total"] == pytest.approx(60)
    assert row["overhead"] == pytest.approx(100 * (60 - WORK) / 60)


def test_the_whole_suite_is_the_workers_time_from_birth_to_their_last_runs_end(results):
    workers = WorkerTime(workers=2, start=8.0, seconds=8.0 + 4 * 60 + 12)
    row = row_of(profile(collect(results), "mine", results, workers), WHOLE, "all")
    assert row["runs"] == 4
    assert row["start"] == pytest.approx(4 * 0.9 + 8)
    assert row["between"] == pytest.approx(12)
    assert row["total"] == pytest.approx(260)
    assert row["overhead"] == pytest.approx(100 * (260 - 4 * WORK) / 260)


def test_the_run_queue_tells_when_each_worker_was_there(results):
    write_queue(results, [(5.0, [(0, 61), (63, 124)]), (3.0, [(0, 60), (61, 130)])])
    first, second = sorted(worker_processes("mine", results), key=lambda process: process.seconds)
    assert (first.start, first.seconds) == (5.0, 5 + 124)
    assert (second.start, second.seconds) == (3.0, 3 + 130)
    assert len(first.folders | second.folders) == 4


def test_without_a_run_queue_nobody_was_there(results):
    assert worker_processes("mine", results) == []
    assert not (results / "study.journal").exists()


def test_a_worker_that_died_unseen_was_there_until_its_run_last_wrote(results):
    storage = open_storage(None, results)
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine-0123abcd")
    run = next(results.glob("runs/*/*"))
    trial = storage.create_new_trial(study)
    storage.set_trial_user_attr(trial, "item", str(run.relative_to(results)))
    storage.set_trial_user_attr(trial, "worker", this_process())
    began = storage.get_trial(trial).datetime_start
    end = began + timedelta(seconds=30)
    os.utime(run / "status.json", (end.timestamp(), end.timestamp()))
    (process,) = worker_processes("mine", results)
    assert process.seconds - process.start == pytest.approx(30, abs=0.1)


def test_a_process_knows_its_age():
    assert 0 < this_process()["age"] < 24 * 3600


def test_the_command_prints_every_cell_and_says_what_counts_as_what(results, capsys, monkeypatch):
    write_queue(results, [(5.0, [(0, 61), (63, 124)]), (3.0, [(0, 60), (61, 130)])])
    (results.parent.parent / "mine.yaml").write_text("matrix: {algorithm: [frozen, ppo]}\nseeds: [0]\n")
    monkeypatch.chdir(results.parent.parent)
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["profile", "mine.yaml"]) == 0
    output = capsys.readouterr().out
    assert output.count("  ppo ") == 2
    assert "whole suite" in output
    assert "the time of 2 worker processes" in output
    assert "both count as work, not as overhead" in output
    assert "start-up" in output


def test_a_run_queue_that_does_not_know_all_runs_is_not_measured_by(results, capsys, monkeypatch):
    write_queue(results, [(5.0, [(0, 61), (63, 124)])])
    (results.parent.parent / "mine.yaml").write_text("matrix: {algorithm: [frozen, ppo]}\nseeds: [0]\n")
    monkeypatch.chdir(results.parent.parent)
    assert cli.main(["profile", "mine.yaml"]) == 0
    assert "no run queue holds all of them" in capsys.readouterr().out


def test_results_of_an_older_version_are_refused_in_one_line(results):
    fabricate.without(results, "seconds_eval")
    with pytest.raises(ResultsError, match="no run here measured where all of its time went") as refused:
        profile(collect(results), "mine", results, None)
    assert "\n" not in str(refused.value)


def test_runs_of_an_older_version_among_others_are_named_and_left_out(results):
    fabricate.without(results, "seconds_kl", "runs/ppo-*/*")
    table = profile(collect(results), "mine", results, WorkerTime(2, 8.0, 260.0))
    assert {row.values["algorithm"] for row in table.rows} == {"frozen", "all"}
    assert row_of(table, WHOLE, "all")["total"] == pytest.approx(120)
    assert table.notes[-1].startswith("2 runs of an older version")


def test_scoring_while_sampling_is_told_and_counted_once(results):
    table = profile(collect(results), "algos", results, None)
    assert "meanwhile" not in [column.key for column in table.columns]
    for path in results.glob("runs/*/*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        fabricate.write_rows(path.parent, [row | {"seconds_reward_overlapped": 0.5} for row in rows])
    overlapped = profile(collect(results), "algos", results, None)
    assert overlapped.columns[-1].key == "meanwhile"
    for before, row in zip(table.rows, overlapped.rows, strict=True):
        assert row.values["meanwhile"].value > 0
        assert row.values["total"] == before.values["total"]
