"""However a sweep ends, no process is left behind and what was done is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.long
PATIENCE = 120.0  # seconds; importing the plugins can take many on a busy machine


@pytest.fixture
def sweep(tmp_path):
    """A sweep of two endless runs in two workers, in a session of its own, that has begun to train."""
    base = {"epochs": 10_000, "samples_per_epoch": 4}
    suite = {"base": base, "matrix": {"algorithm": ["frozen", "ppo"]}, "seeds": [0]}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    environment = os.environ | {"FAKE_EPOCH_SECONDS": "0.05", "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, TESTS / "fake_command.py", "run", "suite.yaml", "--workers", "2"]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=heed_interrupts,
        )  # fmt: skip
    wait_for(lambda: len(list(tmp_path.glob("results/suite/runs/*/seed-0/status.json"))) == 2)
    yield process
    process.kill()
    process.wait()


def heed_interrupts():
    """As from a terminal; a background job of a shell, as the tests may be, ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def members(session):
    """Processes, zombies apart, of a session (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_an_interrupted_sweep_saves_stops_its_workers_and_says_how_to_resume(sweep, tmp_path, how):
    assert len(members(sweep.pid)) >= 3
    if how == "Ctrl-C":
        os.killpg(sweep.pid, signal.SIGINT)  # a terminal sends it to the whole group
    elif how == "SIGHUP":
        os.killpg(sweep.pid, signal.SIGHUP)
    else:
        sweep.terminate()
    assert sweep.wait(PATIENCE) == 130
    wait_for(lambda: not members(sweep.pid))
    output = (tmp_path / "output.txt").read_text()
    assert "To resume: ddpo-bench run suite.yaml --workers 2" in output
    assert "Traceback" not in output
    for status in tmp_path.glob("results/suite/runs/*/seed-0/status.json"):
        assert json.loads(status.read_text())["state"] == "killed"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_die_with_a_killed_parent(sweep):
    sweep.kill()
    sweep.wait()
    wait_for(lambda: not members(sweep.pid))
