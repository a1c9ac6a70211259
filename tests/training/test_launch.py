"""One run on several local processes: rows come back, all end together, and the status says why."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import fake_ranks
import pytest
from warm_processes import WARM

from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.files import DiskTrouble
from ddpo_bench.process_errors import ProcessLost, packed, unpacked
from ddpo_bench.training import launch
from ddpo_bench.training.launch import Ranks, lacking_gpus
from ddpo_bench.training.status import Stop

TWO = {"resources": {"processes": 2}, "epochs": 3}


@pytest.fixture
def together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains on two processes that act as they are told, and returns the rows and the status."""
    monkeypatch.setattr(launch, "CONTEXT", WARM)

    def train(on_row: Any = lambda row: None, **acts: Any) -> tuple[list[dict[str, Any]], tuple[str, str | None]]:
        (tmp_path / "acts.json").write_text(json.dumps({rank.removeprefix("rank"): act for rank, act in acts.items()}))
        rows: list[dict[str, Any]] = []
        try:
            Ranks(run_config(TWO, "test"), tmp_path, on_gpus=False).train(
                fake_ranks.TRAIN, lambda row: (rows.append(row), on_row(row))
            )
        finally:
            status = json.loads((tmp_path / "status.json").read_text())
            train.ended = status["state"], status["reason"]  # type: ignore[attr-defined]
        return rows

    return train


def test_rows_of_rank_0_come_back_in_order(together: Any) -> None:
    assert together() == [{"epoch": epoch, "reward_mean": 3.0} for epoch in (1, 2, 3)]
    assert together.ended == ("done", None)


@pytest.mark.parametrize(
    ("acts", "kind", "line", "state"),
    [
        ({"rank1": (2, "error")}, ValueError, "the reward returned NaN", "failed"),
        ({"rank0": (2, "disk")}, DiskTrouble, "results: no space is left", "killed"),
        ({"rank1": (2, "kill")}, ProcessLost, "process 1 of 2 was killed (signal 9)", "killed"),
        ({"rank0": (2, "kill")}, ProcessLost, "process 0 of 2 was killed (signal 9)", "killed"),
        ({"rank0": (2, "hang"), "rank1": (2, "kill")}, ProcessLost, "process 1 of 2 was killed (signal 9)", "killed"),
        ({"rank1": (1, "exit")}, ProcessLost, "process 1 of 2 ended with exit code 7", "killed"),
    ],
)
def test_what_ends_one_process_ends_all_and_is_raised_here(
    together: Any, acts: Any, kind: type, line: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 1.0)
    with pytest.raises(kind) as caught:
        together(**acts)
    assert str(caught.value).startswith(line)
    assert together.ended[0] == state
    assert line in together.ended[1]


def test_an_error_in_another_process_brings_its_traceback(together: Any) -> None:
    with pytest.raises(ValueError, match="NaN") as caught:
        together(rank1=(1, "error"))
    assert "In process 1:" in caught.value.__notes__[0]
    assert "fake_ranks.py" in caught.value.__notes__[0]


def test_what_on_row_raises_ends_the_run_as_in_one_process(together: Any) -> None:
    stop = Stop("pruned at epoch 2")

    def on_row(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise stop

    with pytest.raises(Stop) as caught:
        together(on_row)
    assert caught.value is stop
    assert together.ended == ("killed", "pruned at epoch 2")


@pytest.mark.parametrize("moment", ["in on_row", "while waiting"])
def test_an_interrupt_lets_the_run_save_its_state(together: Any, moment: str) -> None:
    interrupt = (lambda row: signal.raise_signal(signal.SIGINT)) if moment == "in on_row" else (lambda row: None)
    with pytest.raises(KeyboardInterrupt):
        together(interrupt, rank0=(2, "interrupt the parent"))
    assert together.ended == ("killed", "interrupted")


class OwnArguments(Exception):
    def __init__(self, number: int, text: str):
        self.number = number
        super().__init__(f"{number}: {text}")


def test_an_exception_arrives_with_its_type_message_and_attributes() -> None:
    arrived = unpacked(packed(OwnArguments(3, "wrong")))
    assert isinstance(arrived, OwnArguments)
    assert (str(arrived), arrived.number) == ("3: wrong", 3)
    assert isinstance(unpacked(packed(FileNotFoundError(2, "No such file", "x"))), FileNotFoundError)


def test_an_exception_that_cannot_be_sent_keeps_its_name_and_message() -> None:
    class Local(Exception):
        pass

    arrived = unpacked(packed(Local("of a module that only that process has")))
    assert (type(arrived).__name__, str(arrived)) == ("Local", "of a module that only that process has")


@pytest.mark.parametrize(
    ("resources", "available", "line"),
    [
        (
            {"processes": 2},
            1,
            "2 processes need 2 GPUs, and this machine shows 1. Set resources.processes to 1, or res",
        ),
        ({"processes": 2, "gpus": 2}, 0, "2 processes need 2 GPUs, and this machine shows 0. Set resources.gpus to 0."),
        ({"processes": 2}, 0, None),
        ({"processes": 2}, 2, None),
        ({"processes": 2, "gpus": 0}, 1, None),
    ],
)
def test_too_few_gpus_are_one_line_with_a_remedy(resources: Any, available: int, line: str | None) -> None:
    said = lacking_gpus(run_config({"resources": resources}, "test"), available)
    assert said is None if line is None else line in str(said)


def test_one_process_is_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ddpo_bench.training import trainer

    called: list[Any] = []
    monkeypatch.setattr(trainer, "train", lambda *arguments: called.append(arguments))
    config, on_row = RunConfig(), called.append
    launch.train_on_processes(config, tmp_path, on_row)
    assert called == [(config, tmp_path, on_row)]
