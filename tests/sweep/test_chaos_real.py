"""The real trainer's workers are killed at random: every run ends with the numbers and pictures of a quiet sweep."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from real_sweep import PPO, SAC, outcome, write_real_suite
from test_chaos import harass

HERE = Path(__file__).parent
SEED = 3  # of the killings
EPOCHS = 3


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


def test_runs_of_killed_workers_end_with_the_numbers_and_pictures_of_a_quiet_sweep(tiny_model, tmp_path):
    suite = write_real_suite(tmp_path / "suite", tiny_model, algorithms=(PPO, SAC), seeds=(0, 1), epochs=EPOCHS)
    quiet, harassed = tmp_path / "quiet", tmp_path / "harassed"
    assert start(suite, quiet).wait(240) == 0, (quiet / "output.txt").read_text()
    command = start(suite, harassed)
    try:
        killed = harass([command], random.Random(SEED), mean_pause=4.0)
    finally:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGKILL)
    said = f"killings with seed {SEED}:\n{(harassed / 'output.txt').read_text()}"
    assert command.returncode == 0, said
    assert killed > 0, said
    expected = outcome(quiet / "mine")
    assert len(expected) == 4
    assert {state for state, _, _ in expected.values()} == {"done"}
    assert outcome(harassed / "mine").keys() == expected.keys(), said
    for run, (state, rows, pictures) in outcome(harassed / "mine").items():
        assert (state, rows) == expected[run][:2], f"{run}, {said}"
        assert pictures == expected[run][2], f"{run}, {said}"
