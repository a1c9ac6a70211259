"""The real trainer's workers are killed at random: every run ends with the numbers and pictures of a quiet sweep."""

import os
import random
import signal
import time

import pytest
from chaos import harass, said, start
from real_sweep import PPO, SAC, outcome, write_real_suite

SEED = 3  # of the killings
EPOCHS = 3
KILLS = 3


def run(suite, folder):
    return start(folder, "run", suite, "--results", folder, "--workers", "2", program=["-m", "ddpo_bench"])


@pytest.mark.long
def test_runs_of_killed_workers_end_with_the_numbers_and_pictures_of_a_quiet_sweep(tiny_model, tmp_path):
    suite = write_real_suite(tmp_path / "suite", tiny_model, algorithms=(PPO, SAC), seeds=(0, 1), epochs=EPOCHS)
    quiet, harassed = tmp_path / "quiet", tmp_path / "harassed"
    began = time.monotonic()
    assert run(suite, quiet).wait(240) == 0, said(quiet)
    pause = (time.monotonic() - began) / 4  # long enough, on a busy machine too, for a worker to start
    command = run(suite, harassed)
    try:
        killed = harass([command], random.Random(SEED), mean_pause=pause, kills=KILLS)
    finally:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGKILL)
    told = f"killings with seed {SEED}:\n{said(harassed)}"
    assert command.returncode == 0, told
    assert killed > 0, told
    expected = outcome(quiet / "mine")
    assert len([line for line in expected if line.endswith(": done")]) == 4
    assert outcome(harassed / "mine") == expected, told
