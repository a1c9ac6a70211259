"""`tune` in worker processes of which one is killed, and `work` alone: no trial is lost, and records are the same."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

import fake_trainer
import pytest
from chaos import harass, said, start
from queues import tuned_suite

from ddpo_bench import cli
from ddpo_bench.tuning import runner


@pytest.mark.long
def test_records_are_the_same_when_a_worker_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned_suite(tmp_path, sampler="random", trials=5)  # whose suggestions do not depend on which trial ended first
    suite = tmp_path / "mine.yaml"
    command = start(
        tmp_path, "tune", suite, "--results", tmp_path / "shared", "--workers", "2", FAKE_EPOCH_SECONDS="0.3"
    )
    assert harass([command], random.Random(0), mean_pause=1.0, kills=1) == 1
    assert command.returncode == 0, said(tmp_path)

    monkeypatch.setattr(runner, "work_on_tuning", partial(runner.work_on_tuning, train=fake_trainer.TRAIN))
    assert cli.main(["work", str(suite), "--results", str(tmp_path / "alone")]) == 0
    told = capsys.readouterr().out
    assert "ppo, trial 0: learning_rate 0.001, by " in told
    assert "(5/5 trials)" in told
    assert told.endswith(f"6 of 6 runs are done, 0 failed: {tmp_path / 'alone' / 'mine'}\n")

    records = [json.loads((tmp_path / name / "mine/tuning/ppo.json").read_text()) for name in ("shared", "alone")]
    assert records[0] == records[1]
    assert [trial["state"] for trial in records[0]["trials"]] == ["complete"] * 5
    assert not list(tmp_path.glob("shared/**/overlaps.txt"))
    assert not list(tmp_path.glob("shared/**/heartbeat.json"))
    for name in ("report.html", "best.yaml", "table.md"):
        assert (tmp_path / "shared" / "mine" / name).exists()
