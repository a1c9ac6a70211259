"""The real trainer's workers are killed at random: every run ends with the numbers and pictures of a quiet sweep."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos import harass
from real_sweep import PPO, SAC, outcome, write_real_suite

HERE = Path(__file__).parent
SEED = 3  # of the killings
EPOCHS = 3
KILLS = 3


def start(suite, folder):
    """`ddpo-bench run` in two workers, in a session of its own."""
    folder.mkdir()
    arguments = [sys.executable, "-m", "ddpo_bench", "run", suite, "--results", folder, "--workers", "2"]
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen(
            list(map(str, arguments)), env=os.environ | {"PYTHONPATH": path}, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


@pytest.mark.long
def test_runs_of_killed_workers_end_with_the_numbers_and_pictures_of_a_quiet_sweep(tiny_model, tmp_path):
    suite = write_real_suite(tmp_path / "suite", tiny_model, algorithms=(PPO, SAC), seeds=(0, 1), epochs=EPOCHS)
    quiet, harassed = tmp_path / "quiet", tmp_path / "harassed"
    began = time.monotonic()
    assert start(suite, quiet).wait(240) == 0, (quiet / "output.txt").read_text()
    pause = (time.monotonic() - began) / 4  # long enough, on a busy machine too, for a worker to start
    command = start(suite, harassed)
    try:
        killed = harass([command], random.Random(SEED), mean_pause=pause, kills=KILLS)
    finally:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGKILL)
    said = f"killings with seed {SEED}:\n{(harassed / 'output.txt').read_text()}"
    assert command.returncode == 0, said
    assert killed > 0, said
    expected = outcome(quiet / "mine")
    assert len([line for line in expected if line.endswith(": done")]) == 4
    assert outcome(harassed / "mine") == expected, said
