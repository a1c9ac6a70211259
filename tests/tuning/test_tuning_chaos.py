"""Tuning in worker processes that are killed at random: no trial is lost or doubled, and the records are the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from tuning_suites import suite_data
from worker_processes import workers_of

HERE = Path(__file__).parent
PATIENCE = 240.0  # seconds
KILLS = 8


def start(folder: Path, epoch_seconds: str, verb: str, *options: str) -> subprocess.Popen[bytes]:
    """The command with the known landscape, in a session of its own."""
    folder.mkdir(exist_ok=True)
    data = suite_data(sampler="random", trials=5)  # whose suggestions do not depend on which trial ended first
    (folder / "mine.yaml").write_text(yaml.safe_dump(data))
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, HERE / "tuning_command.py", verb, folder / "mine.yaml", "--results", folder, *options]
    variables = os.environ | {"FAKE_EPOCH_SECONDS": epoch_seconds, "PYTHONPATH": path}
    with (folder / f"{verb}.txt").open("w") as output:
        words = list(map(str, command))
        return subprocess.Popen(words, env=variables, stdout=output, stderr=output, start_new_session=True)


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "mine" / "tuning" / "ppo.json").read_text())


def test_records_are_the_same_however_often_workers_are_killed(tmp_path: Path) -> None:
    quiet = start(tmp_path / "quiet", "0", "work")  # a bare worker, which does the same
    assert quiet.wait(PATIENCE) == 0, (tmp_path / "quiet" / "work.txt").read_text()
    harassed = start(tmp_path / "harassed", "0.2", "tune", "--workers", "2")
    rng, killed, end = random.Random(0), 0, time.monotonic() + PATIENCE
    while harassed.poll() is None:
        assert time.monotonic() < end, "waited too long"
        time.sleep(rng.expovariate(1.0))
        if killed < KILLS and (workers := workers_of(harassed.pid)):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
    assert killed > 1
    assert harassed.returncode == 0, (tmp_path / "harassed" / "tune.txt").read_text()
    assert record(tmp_path / "harassed") == record(tmp_path / "quiet")
    assert [trial["state"] for trial in record(tmp_path / "quiet")["trials"]] == ["complete"] * 5
    assert not list(tmp_path.glob("harassed/**/overlap"))
    assert not list(tmp_path.glob("harassed/**/heartbeat.json"))
    for name in ("report.html", "best.yaml", "table.md"):
        assert (tmp_path / "harassed" / "mine" / name).exists()
    told = (tmp_path / "quiet" / "work.txt").read_text()
    assert "ppo, trial 0: learning_rate 0.001, by " in told
    assert "(5/5 trials)" in told
    assert told.endswith(f"6 of 6 runs are done, 0 failed: {tmp_path / 'quiet' / 'mine'}\n")
