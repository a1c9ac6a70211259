"""`status` and `ls`: what they say of sweeps in every state, and that they leave them alone."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from queues import write_suite

from ddpo_bench import cli
from ddpo_bench.files import write_json
from ddpo_bench.sweep import lease
from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.queue_item import Claim, Outcome
from ddpo_bench.sweep.runner import begin
from ddpo_bench.sweep.status import sweep_status
from ddpo_bench.sweep.suite import load_suite
from ddpo_bench.sweep.sweep_queue import QueuedRun, SweepQueue

sys.path.insert(0, str(Path(__file__).parent / "analysis"))

from fabricate import fabricate_suite


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """results/mine of a suite of four runs, entered in its run queue, none begun; in the current directory."""
    monkeypatch.chdir(tmp_path)
    write_suite(Path("mine.yaml"), base={"epochs": 4}, matrix={"algorithm": ["frozen", "ppo"]}, seeds=[0, 1])
    root = Path("results", "mine")
    queue_of(root)
    return root


def queue_of(root: Path, storage: str | None = None, retry_failed: bool = False) -> SweepQueue:
    suite = load_suite(Path("mine.yaml"))
    return begin(suite, runs_of(suite), root, storage, retry_failed)


def claim(queue: SweepQueue) -> Claim[QueuedRun]:
    taken = queue.claim()
    assert taken
    return taken


def write(folder: Path, state: str, epoch: int, reason: str | None = None, rows: int = 0) -> None:
    """What a trainer leaves in a run's folder; ten seconds an epoch."""
    known = {"state": state, "reason": reason, "epoch": epoch, "epochs": 4, "seconds": 10.0 * epoch}
    write_json(folder / "status.json", {**known, "pid": os.getpid()})
    curve: list[dict[str, Any]] = [
        {"epoch": k, "queries": k, "reward_mean": -2.0 / k, "images_per_second": 12.5} for k in range(1, rows + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))


def sweep_under_way(root: Path, storage: str | None = None) -> None:
    """One run done, one failed, one in its third epoch, one waiting."""
    queue = queue_of(root, storage)
    done, failed, running = claim(queue), claim(queue), claim(queue)
    write(done.item.folder, "done", 4)
    queue.close(done, Outcome("done", values=[-1.0]))
    write(failed.item.folder, "failed", 1, "ValueError: the reward returned NaN\nsecond line")
    (failed.item.folder / "error.log").write_text("Traceback")
    queue.close(failed, Outcome("failed", "ValueError: the reward returned NaN"))
    write(running.item.folder, "running", 2, rows=2)
    write_json(running.item.folder / lease.HEARTBEAT, {"epoch": 3, "sampled": 64})


def files_under(root: Path) -> dict[str, tuple[float, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli.main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["results/mine", "mine.yaml"])
def test_counts_runs_failures_speed_and_time_left_are_told(
    sweep: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sweep_under_way(sweep)
    lines = say(capsys, "status", name).splitlines()
    assert lines[0] == "mine: 1/4 runs done, 1 running, 1 failed, 1 queued (results/mine)"
    running, failed = lines[lines.index("running:") + 1], lines[lines.index("failed:") + 1]
    us = lease.this_process()
    who = f"{us['host']}:{us['pid']}"
    assert f"frozen/seed-1  {who}  epoch 2/4  reward -1  12.5 images/s  64 sampled  heartbeat " in running
    assert "dead?" not in running
    assert failed.split("  ")[1:4] == ["ppo/seed-0", "ValueError: the reward returned NaN", f"see {error_log(sweep)}"]
    assert lines[-1] == "12.5 images/s while sampling, 1 worker at work; time left: about 1 min"  # 2 + 4 epochs of 10 s


def error_log(root: Path) -> Path:
    (log,) = root.glob("runs/ppo-*/seed-0/error.log")
    return log


def test_looking_changes_nothing(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_under_way(sweep)
    with (sweep / "study.journal").open("a") as journal:
        journal.write('{"op_code": 5, "worker')  # as another process is writing it
    before = files_under(Path("results"))
    say(capsys, "status", "results/mine")
    say(capsys, "ls")
    assert files_under(Path("results")) == before


@pytest.mark.parametrize(("lease_seconds", "dead"), [(60.0, False), (0.0, True)])
def test_a_worker_on_another_host_whose_lease_is_over_may_be_dead(
    sweep: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lease_seconds: float,
    dead: bool,
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", lease_seconds)
    queue = queue_of(sweep)
    running = claim(queue)
    elsewhere = {"host": "elsewhere", "space": "", "pid": 7, "born": "1"}
    queue.storage.set_trial_user_attr(running.trial_id, "worker", elsewhere)
    write(running.item.folder, "running", 2, rows=2)
    write_json(running.item.folder / lease.HEARTBEAT, {})
    output = say(capsys, "status", "results/mine")
    assert "elsewhere:7" in output
    assert ("dead?" in output) == dead


def test_a_dead_process_of_this_host_is_told_and_does_not_count_as_a_worker(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_under_way(sweep)
    queue = queue_of(sweep)
    (running,) = [t for ts in queue.attempts().values() for t in ts if t.state.name == "RUNNING"]
    queue.storage.set_trial_user_attr(running._trial_id, "worker", lease.this_process() | {"pid": 2**22 + 1})
    output = say(capsys, "status", "results/mine")
    assert "s ago, dead?" in output
    assert output.splitlines()[-1] == "no worker is running; time left for one worker: about 1 min"


def test_without_a_run_queue_the_run_folders_tell(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_under_way(sweep)
    (sweep / "study.journal").unlink()
    lines = say(capsys, "status", "results/mine").splitlines()
    assert lines[0] == "mine: 1/4 runs done, 1 running, 1 failed, 1 queued (results/mine)"
    assert f"?:{os.getpid()}" in lines[2]
    assert not (sweep / "study.journal").exists()


def test_run_folders_alone_are_a_sweep_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fabricate_suite(tmp_path / "old", ("frozen", "ppo"), seeds=2)
    assert say(capsys, "status", str(tmp_path / "old")).splitlines() == [f"old: 8/8 runs done ({tmp_path / 'old'})"]


def test_runs_of_an_earlier_plan_are_counted_apart(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_under_way(sweep)
    (done,) = sweep.glob("runs/frozen-*/seed-0")
    shutil.copytree(done, done.with_name("seed-7"))
    lines = say(capsys, "status", "results/mine").splitlines()
    assert lines[0].startswith("mine: 1/4 runs done")
    assert lines[1] == "and 1 run that the plan, as last written, does not hold"


def test_a_run_that_a_killed_process_left_running_is_killed_and_a_failed_one_that_waits_again_is_queued(
    sweep: Path,
) -> None:
    sweep_under_way(sweep)
    queue = queue_of(sweep, retry_failed=True)
    last = claim(queue)
    write(last.item.folder, "running", 1)
    queue.close(last, Outcome("died", "its worker died in epoch 2"))
    assert sweep_status(sweep).counts() == {"done": 1, "running": 1, "killed": 1, "queued": 1}


def test_a_damaged_file_hides_no_other_run(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_under_way(sweep)
    (done,) = sweep.glob("runs/frozen-*/seed-0")
    (done / "status.json").write_text('{"state": "do')
    output = say(capsys, "status", "results/mine")
    assert output.startswith("mine: 0/4 runs done, 1 running, 1 failed, 1 damaged, 1 queued")
    assert f"{done}/status.json: is damaged" in output


def test_a_run_queue_in_a_database_is_read_and_none_is_made(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "study.journal").unlink()
    assert say(capsys, "status", "results/mine", "--storage", "sqlite:///none.db").startswith("mine: 0/4 runs done, 4")
    assert not Path("none.db").exists()
    sqlite3.connect("empty.db").execute("create table mine (k)")
    say(capsys, "status", "results/mine", "--storage", "sqlite:///empty.db")
    tables = sqlite3.connect("empty.db").execute("select name from sqlite_master").fetchall()
    assert tables == [("mine",)]
    sweep_under_way(sweep, "sqlite:///queue.db")
    output = say(capsys, "status", "results/mine", "--storage", "sqlite:///queue.db")
    assert "1 running, 1 failed, 1 queued" in output
    assert f"{lease.this_process()['host']}:{os.getpid()}" in output


def test_a_suite_that_has_not_been_run_is_said_to_be_so(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results")
    assert say(capsys, "status", "mine.yaml").startswith("mine: nothing has been run: there is no results/mine.")
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["status", "smke"], "unknown shipped suite 'smke'. Did you mean 'smoke'?"),
        (["status", "empty"], "empty: holds no runs."),
        (["ls", "nowhere"], "nowhere: no such folder."),
    ],
)
def test_what_does_not_exist_is_one_line_and_exit_code_1(
    sweep: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], mistake: str
) -> None:
    Path("empty").mkdir()
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


def test_ls_names_every_results_folder_with_what_it_compares(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_under_way(sweep)
    tried = sweep / "runs" / "ppo-of-a-trial" / "seed-100"  # not of the plan, hence not among those done
    tried.mkdir(parents=True)
    (tried / "status.json").write_text(json.dumps({"state": "done", "reason": None}))
    fabricate_suite(Path("results", "older", "theirs"), ("frozen", "sac"), seeds=1)
    rows = [line.split("│")[1:-1] for line in say(capsys, "ls").splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert cells[0][:6] == ["mine", "1", "1", "4", "frozen, ppo", "jpeg_compressibility"]
    assert cells[1][:6] == ["older/theirs", "4", "0", "?", "frozen, sac", "jpeg_compressibility, target_colour"]
    assert all(row[6].startswith("20") and row[7].endswith("B") for row in cells)


def test_ls_says_where_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, "ls", str(tmp_path)).startswith(f"{tmp_path}: no results here.")
