"""Commands whose processes are real ones: they start one another, are killed, and leave no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from chaos import PATIENCE, processes_of, said, start, wait_for

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc"),
]
PROGRAM = Path(__file__).with_name("fake_train.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def begin(here: Path, *more: str, launcher: tuple[str, ...] = (), **acts: tuple[int, str]) -> subprocess.Popen[bytes]:
    """A command in a session of its own, whose ranks misbehave as fake_ranks knows it."""
    (here / "tiny.yaml").write_text("epochs: 3\nsamples_per_epoch: 4\n")
    (here / "run").mkdir(exist_ok=True)
    told = {rank.removeprefix("rank"): act for rank, act in acts.items()}
    (here / "run" / "acts.json").write_text(json.dumps(told))
    return start(here, "train", "tiny.yaml", "--out", "run", *more, program=(*launcher, PROGRAM), PYTHONPATH=path())


def path() -> str:
    return os.pathsep.join([str(PROGRAM.parent), str(PROGRAM.parents[1]), os.environ.get("PYTHONPATH", "")])


def status(here: Path) -> tuple[str, str | None]:
    held = json.loads((here / "run" / "status.json").read_text())
    return held["state"], held["reason"]


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.Popen[bytes]:
    """A command that waits in its second epoch, on two processes of its own."""
    monkeypatch.chdir(tmp_path)
    command = begin(tmp_path, "--set", "resources.processes=2", rank0=(2, "hang"))
    wait_for(lambda: "noise of a library" in log(tmp_path))
    assert len(processes_of(command.pid)) >= 3
    yield command
    command.kill()
    command.wait()


def log(here: Path) -> str:
    file = here / "run" / "output.log"
    return file.read_text() if file.exists() else ""


def test_no_process_outlives_a_killed_command(hanging: subprocess.Popen[bytes]) -> None:
    hanging.kill()
    hanging.wait()
    wait_for(lambda: not processes_of(hanging.pid))


def test_ctrl_c_saves_the_state_and_says_how_to_resume(hanging: subprocess.Popen[bytes], tmp_path: Path) -> None:
    os.killpg(hanging.pid, signal.SIGINT)
    assert hanging.wait(PATIENCE) == 130
    wait_for(lambda: not processes_of(hanging.pid))
    assert "To resume: ddpo-bench train tiny.yaml --out run --set resources.processes=2" in said(tmp_path)
    assert status(tmp_path) == ("killed", "interrupted")


def test_under_torchrun_a_killed_process_ends_the_others_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = begin(tmp_path, launcher=TORCHRUN, rank1=(2, "kill"))
    assert command.wait(PATIENCE) == 1  # of torchrun, whichever the ranks' are
    wait_for(lambda: not processes_of(command.pid))
    output = said(tmp_path)
    assert output.count("run: process 1 of 2 was killed. Run the same command again to resume.\n") == 1, output
    assert status(tmp_path) == ("killed", "process 1 of 2 was killed")
