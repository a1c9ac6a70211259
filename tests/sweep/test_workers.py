"""Runs in real worker processes, with a trainer that takes milliseconds."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from fake_trainer import run_suite, sessions
from queues import write_suite
from warm_processes import WARM

from ddpo_bench.sweep import workers
from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.suite import load_suite
from ddpo_bench.tuning.display import Quiet


class Recorder(Quiet):
    """A display that remembers."""

    def __init__(self):
        self.ends = []
        self.shown = None

    def __call__(self, runs, done_before):
        self.shown = (len(runs), done_before)
        return nullcontext(self)

    def ended(self, run, state, reason):
        self.ends.append((run.name, state, reason))


@pytest.fixture
def warm(monkeypatch):
    """Workers start warm."""
    monkeypatch.setattr(workers, "multiprocessing", SimpleNamespace(get_context=lambda kind: WARM))


@pytest.fixture
def sweep(tmp_path):
    """Returns a function that runs a suite of these algorithms and gives (failed runs, recorder, root)."""

    def run(algorithms, seeds=(0,), workers=2, **options):
        path = write_suite(tmp_path / "suite.yaml", matrix={"algorithm": algorithms}, seeds=list(seeds))
        suite, recorder, root = load_suite(path), Recorder(), tmp_path / "results"
        failed = run_suite(suite, runs_of(suite), root, workers, recorder, **options)
        return [planned.name for planned in failed], recorder, root

    return run


def folder_of(root, cell, seed=0):
    (folder,) = root.glob(f"runs/{cell}-*/seed-{seed}")
    return folder


def status_of(root, cell, seed=0):
    return json.loads((folder_of(root, cell, seed) / "status.json").read_text())


def sessions_of(root, cell, seed=0):
    return sessions(folder_of(root, cell, seed))


def test_all_runs_are_done_each_in_one_session_of_one_thread(sweep, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    failed, recorder, root = sweep(["frozen", "ppo"], seeds=(0, 1, 2))
    assert not failed, [p.read_text() for p in root.rglob("status.json")]
    assert [state for _, state, _ in recorder.ends] == ["done"] * 6
    sessions = [sessions_of(root, cell, seed) for cell in ("frozen", "ppo") for seed in (0, 1, 2)]
    assert all(len(session) == 1 and "from 0 with 1 threads" in session[0] for session in sessions)
    assert len({session[0].split()[0] for session in sessions}) <= 2  # two processes did all


@pytest.mark.usefixtures("warm")
def test_a_crashing_run_does_not_stop_the_others(sweep):
    failed, _, root = sweep(["trpo_penalty", "frozen", "ppo"], workers=1)
    assert failed == ["trpo_penalty/seed-0"]
    assert status_of(root, "trpo_penalty")["state"] == "failed"
    assert status_of(root, "trpo_penalty")["reason"] == "ValueError: the reward returned NaN"
    assert "Traceback" in (folder_of(root, "trpo_penalty") / "error.log").read_text()
    assert status_of(root, "frozen")["state"] == status_of(root, "ppo")["state"] == "done"


@pytest.mark.usefixtures("warm")
def test_a_run_whose_worker_is_killed_resumes_in_a_fresh_one(sweep):
    failed, recorder, root = sweep(["sac", "frozen"])
    assert not failed, [p.read_text() for p in root.rglob("status.json")]
    assert ("sac/seed-0", "killed", "its worker died in epoch 2") in recorder.ends
    first, second = sessions_of(root, "sac")
    assert "from 0" in first
    assert "from 2" in second
    assert first.split()[0] != second.split()[0]
    assert status_of(root, "sac")["state"] == "done"


@pytest.mark.usefixtures("warm")
def test_a_run_at_whose_same_epoch_workers_keep_dying_is_failed(sweep):
    failed, recorder, root = sweep(["policy_gradient", "frozen"], workers=1)
    assert failed == ["policy_gradient/seed-0"]
    assert status_of(root, "policy_gradient")["reason"] == "5 workers died in epoch 2"
    assert len(sessions_of(root, "policy_gradient")) == 5
    assert ("frozen/seed-0", "done", None) in recorder.ends


@pytest.mark.usefixtures("warm")
def test_done_and_failed_runs_are_not_run_again_but_failed_ones_are_on_request(sweep):
    sweep(["trpo_penalty", "frozen"])
    failed, recorder, root = sweep(["trpo_penalty", "frozen"])
    assert failed == ["trpo_penalty/seed-0"]
    assert recorder.shown is None  # nothing to do, nothing to show
    assert len(sessions_of(root, "trpo_penalty")) == len(sessions_of(root, "frozen")) == 1
    _, recorder, root = sweep(["trpo_penalty", "frozen"], retry_failed=True)
    assert recorder.shown == (1, 1)
    assert len(sessions_of(root, "trpo_penalty")) == 2
    assert len(sessions_of(root, "frozen")) == 1


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("state", ["running", "killed"])
def test_a_run_that_was_broken_off_resumes(sweep, state):
    _, _, root = sweep(["frozen"])
    folder = folder_of(root, "frozen")
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:2]))
    (folder / "status.json").write_text(json.dumps({"state": state, "reason": None, "pid": 2**22 + 1}))
    sweep(["frozen"])
    assert "from 2" in sessions_of(root, "frozen")[-1]
    assert (folder / "metrics.jsonl").read_text().splitlines(keepends=True) == rows
