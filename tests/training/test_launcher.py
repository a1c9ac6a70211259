"""`ddpo-bench train` in processes that a launcher has started: the first speaks, and all end together."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launched import MAY_TAKE, launched, terminal_of

from ddpo_bench.training.launcher import too_many_processes

CONFIG = "sampler: {steps: 2}\nsamples_per_epoch: 4\nepochs: 3\nevaluation: {samples: 2}\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "run").mkdir()
    return tmp_path


def act(here: Path, **acts: tuple[int, str]) -> None:
    """Have ranks misbehave, each in an epoch, as fake_ranks knows it."""
    told = {rank.removeprefix("rank"): act for rank, act in acts.items()}
    (here / "run" / "acts.json").write_text(json.dumps(told))


def train(here: Path, *more: str, **options: Any) -> list[int]:
    """The exit codes."""
    with launched(here, "tiny.yaml", "--out", "run", *more, **options) as processes:
        pass
    return [process.exitcode for process in processes]


def said(here: Path, rank: int) -> str:
    return terminal_of(here, rank).read_text()


def end(here: Path) -> tuple[str, str | None]:
    status = json.loads((here / "run" / "status.json").read_text())
    return status["state"], status["reason"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MAY_TAKE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_first_process_speaks_and_the_others_write_to_the_log(here: Path) -> None:
    act(here, rank1=(2, "print"))
    assert train(here) == [0, 0]
    assert end(here) == ("done", None)
    assert "tiny/seed-0: done" in said(here, 0)
    assert said(here, 1) == ""
    assert "noise of a library" in (here / "run" / "output.log").read_text()


def test_a_wrong_key_is_told_once_and_all_end_with_the_same_code(here: Path) -> None:
    (here / "tiny.yaml").write_text("algorithm: {name: ppo}\nepoch: 3\n")
    assert train(here) == [1, 1]
    assert said(here, 0).startswith("tiny.yaml: epoch: unknown key 'epoch'. Did you mean 'epochs'?")
    assert said(here, 1) == ""


def test_an_error_in_another_process_fails_the_run_in_its_words(here: Path) -> None:
    act(here, rank1=(2, "error"))
    assert train(here) == [2, 2]
    assert end(here) == ("failed", "ValueError: the reward returned NaN")
    assert "tiny/seed-0: failed: ValueError: the reward returned NaN" in said(here, 0)
    assert said(here, 1) == ""
    assert "Traceback" in (here / "run" / "output.log").read_text()


def test_a_killed_process_ends_the_others_with_one_line_and_the_run_resumes(here: Path) -> None:
    act(here, rank1=(2, "kill"))
    assert train(here) == [2, -signal.SIGKILL]
    assert end(here) == ("killed", "process 1 of 2 was killed")
    assert "run: process 1 of 2 was killed. Run the same command again to resume.\n" in said(here, 0)
    act(here)
    assert train(here, count=3) == [0, 0, 0]


def test_where_the_first_is_killed_the_next_one_says_so(here: Path) -> None:
    act(here, rank0=(2, "kill"))
    assert train(here, count=3) == [-signal.SIGKILL, 2, 2]
    assert end(here) == ("killed", "process 0 of 3 was killed")
    assert said(here, 1) == "run: killed: process 0 of 3 was killed. Run the same command again to resume.\n"
    assert said(here, 2) == ""


@pytest.mark.parametrize("doing", ["wait in C", "hang"])
def test_a_process_that_is_stuck_or_at_work_ends_soon_after_its_launcher_asks_it_to(here: Path, doing: str) -> None:
    act(here, rank0=(2, doing), rank1=(2, "kill"))
    with launched(here, "tiny.yaml", "--out", "run", patience=0.3) as processes:
        processes[1].join(MAY_TAKE)
        processes[0].terminate()  # as torchrun does
    assert processes[0].exitcode == 2
    assert end(here) == ("killed", "process 1 of 2 was killed")
    assert "process 1 of 2 was killed. Run the same command again to resume." in said(here, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_all_saves_the_state_and_says_how_to_resume(here: Path, number: signal.Signals) -> None:
    act(here, rank0=(2, "hang"))
    with launched(here, "tiny.yaml", "--out", "run") as processes:
        wait_for(lambda: terminal_of(here, 0).exists() and "noise of a library" in said(here, 0))
        for process in processes:
            os.kill(process.pid, number)
    assert [process.exitcode for process in processes] == [130, 130]
    assert end(here) == ("killed", "interrupted")
    assert "Interrupted. To resume: ddpo-bench train tiny.yaml --out run" in said(here, 0)
    assert said(here, 1) == ""


def test_more_processes_than_gpus_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert too_many_processes() == ("4 processes were started on a machine with 2 GPUs, and each needs one. Start 2.")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert too_many_processes() is None
