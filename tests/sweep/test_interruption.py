"""However a sweep ends, no process is left behind and what was done is kept."""

import json
import os
import signal
from pathlib import Path

import pytest
from chaos import PATIENCE, processes_of, said, start, wait_for
from queues import write_suite

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc"),
]


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep of two endless runs in two workers, in a session of its own, that has begun to train."""
    monkeypatch.chdir(tmp_path)
    write_suite(Path("suite.yaml"), base={"epochs": 10_000, "samples_per_epoch": 4})
    process = start(tmp_path, "run", "suite.yaml", "--workers", "2", FAKE_EPOCH_SECONDS="0.05")
    wait_for(lambda: len(list(tmp_path.glob("results/suite/runs/*/seed-0/status.json"))) == 2)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_an_interrupted_sweep_saves_stops_its_workers_and_says_how_to_resume(sweep, tmp_path, how):
    assert len(processes_of(sweep.pid)) >= 3
    if how == "Ctrl-C":
        os.killpg(sweep.pid, signal.SIGINT)  # a terminal sends it to the whole group
    elif how == "SIGHUP":
        os.killpg(sweep.pid, signal.SIGHUP)
    else:
        sweep.terminate()
    assert sweep.wait(PATIENCE) == 130
    wait_for(lambda: not processes_of(sweep.pid))
    output = said(tmp_path)
    assert "To resume: ddpo-bench run suite.yaml --workers 2" in output
    assert "Traceback" not in output
    for status in tmp_path.glob("results/suite/runs/*/seed-0/status.json"):
        assert json.loads(status.read_text())["state"] == "killed"


def test_workers_die_with_a_killed_parent(sweep):
    sweep.kill()
    sweep.wait()
    wait_for(lambda: not processes_of(sweep.pid))
