"""Workers are killed at random again and again: every run is done, once, with the numbers of an undisturbed sweep."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from worker_processes import workers_of

from ddpo_bench.sweep.storage import open_storage

HERE = Path(__file__).parent
PATIENCE = 240.0  # seconds
KILLS = 15  # at most, since on a busy machine a worker takes longer to start than the next kill to come
ALGORITHMS, SEEDS = ["frozen", "ppo"], list(range(6))


def write_suite(folder, epochs=12):
    folder.mkdir()
    base = {"epochs": epochs, "samples_per_epoch": 4}
    suite = {"base": base, "matrix": {"algorithm": ALGORITHMS}, "seeds": SEEDS}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    return folder


def start(folder, *options, epoch_seconds="0.15", **environment):
    """The command with the fake trainer, in a session of its own."""
    command = [sys.executable, HERE / "fake_command.py", "run", folder / "suite.yaml", "--results", folder, *options]
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"FAKE_EPOCH_SECONDS": epoch_seconds, "PYTHONPATH": path} | environment
    with (folder / f"output-{time.monotonic_ns()}.txt").open("w") as output:
        return subprocess.Popen(
            list(map(str, command)), env=variables, stdout=output, stderr=output, start_new_session=True
        )


def harass(commands, rng, mean_pause):
    """Kill a random worker of a random command after random pauses, KILLS times or until all commands have ended;
    returns how many."""
    killed, end = 0, time.monotonic() + PATIENCE
    while any(command.poll() is None for command in commands):
        assert time.monotonic() < end, "waited too long"
        time.sleep(rng.expovariate(1 / mean_pause))
        workers = [pid for command in commands for pid in workers_of(command.pid)]
        if workers and killed < KILLS:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
    return killed


def metrics(folder):
    return {
        path.parent.parent.name + path.parent.name: path.read_text() for path in folder.glob("*/runs/*/*/metrics.jsonl")
    }


def check(folder, undisturbed, storage=None):
    """Each run done exactly once, by one worker at a time, with the numbers of the undisturbed sweep."""
    assert metrics(folder) == metrics(undisturbed)
    statuses = [json.loads(path.read_text())["state"] for path in folder.glob("suite/runs/*/*/status.json")]
    assert statuses == ["done"] * len(ALGORITHMS) * len(SEEDS)
    assert not list(folder.glob("suite/runs/*/*/overlaps.txt"))
    assert not list(folder.glob("suite/runs/*/*/heartbeat.json"))
    book = open_storage(storage, folder / "suite")
    (study,) = [study for study in book.get_all_studies() if study.study_name.startswith("suite-")]
    trials = book.get_all_trials(study._study_id)
    complete = [trial.user_attrs["folder"] for trial in trials if trial.state.name == "COMPLETE"]
    assert sorted(complete) == sorted(set(complete))
    assert len(complete) == len(statuses)
    assert all(trial.state.is_finished() for trial in trials)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = write_suite(tmp_path_factory.mktemp("sweeps") / "undisturbed")
    assert start(folder, "--workers", "3", epoch_seconds="0").wait(PATIENCE) == 0
    return folder


@pytest.mark.parametrize("seed", [0, 1])
def test_no_run_is_lost_or_done_twice_while_workers_are_killed_at_random(undisturbed, tmp_path, seed):
    folder = write_suite(tmp_path / "harassed")
    killed = harass([start(folder, "--workers", "3")], random.Random(seed), mean_pause=0.4)
    assert killed > 2
    check(folder, undisturbed)


def test_two_hosts_share_one_book_while_workers_of_both_are_killed(undisturbed, tmp_path):
    folder = write_suite(tmp_path / "shared")
    commands = [start(folder, "--workers", "2", FAKE_HOST=host) for host in ("castor", "pollux")]
    assert harass(commands, random.Random(2), mean_pause=0.7) > 0
    assert [command.returncode for command in commands] == [0, 0]
    check(folder, undisturbed)
    hosts = {line for path in folder.glob("output-*.txt") for line in path.read_text().split() if ":" in line}
    assert any(word.startswith("castor:") for word in hosts)
    assert any(word.startswith("pollux:") for word in hosts)
