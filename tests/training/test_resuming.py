"""Checkpoints, and runs that resume from them to the numbers of an unbroken run."""

from __future__ import annotations

import io
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from run_rows import numbers
from stopped_runs import MakeConfig, status_of, stopped

from ddpo_bench.training.checkpoint import CorruptCheckpoint, load_newest, write_state
from ddpo_bench.training.run_identity import DifferentConfig
from ddpo_bench.training.trainer import train


@pytest.mark.parametrize("kept", [1, 2])
def test_the_newest_checkpoints_alone_stay(small_run: MakeConfig, tmp_path: Path, kept: int) -> None:
    stopped(small_run(f"checkpoints_kept={kept}"), tmp_path, 3)
    expected = ["epoch-0001.pt", "epoch-0002.pt"][-kept:]
    assert [p.name for p in sorted((tmp_path / "checkpoint").iterdir())] == expected


def test_checkpoints_that_would_come_too_soon_are_left_out_and_a_resumed_run_is_the_same(
    small_run: MakeConfig, small_finished: Path, tmp_path: Path
) -> None:
    config = small_run("checkpoint_seconds=1000")
    stopped(config, tmp_path, 3)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["epoch-0000.pt"]
    assert json.loads((tmp_path / "status.json").read_text())["epoch"] == 2
    train(config, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["epoch-0003.pt"]
    assert numbers(tmp_path) == numbers(small_finished)


def test_a_checkpoint_of_an_older_version_is_named_with_its_remedy(small_run: MakeConfig, tmp_path: Path) -> None:
    stopped(small_run(), tmp_path, 3)
    newest = max((tmp_path / "checkpoint").iterdir())
    state = torch.load(newest, weights_only=True)
    for kept in ({"epoch", "policy", "algorithm", "advantages"}, set(state) - {"algorithm"}):
        older = {key: state[key] for key in kept} | ({} if "algorithm" in kept else {"algorithm": {"other": 1}})
        torch.save(older, newest)
        with pytest.raises(CorruptCheckpoint, match="made by an older version"):
            train(small_run(), tmp_path)


def test_a_finished_run_keeps_one_checkpoint_to_resume_from(small_finished: Path) -> None:
    (path,) = (small_finished / "checkpoint").iterdir()
    assert path.name == "epoch-0003.pt"
    parts = {"policy", "algorithm", "advantages", "reward", "judges", "metrics"}
    assert torch.load(path, weights_only=True).keys() == {"epoch", *parts}


def test_more_epochs_continue_a_finished_run_to_the_numbers_of_one_that_was_planned_longer(
    small_run: MakeConfig, tmp_path: Path
) -> None:
    sac = {"name": "sac", "critic_updates": 2, "actor_updates": 1, "batch": 8, "replay_rollouts": 2}
    make = partial(small_run, algorithm=sac)
    train(make("epochs=4"), tmp_path / "longer")
    folder = tmp_path / "shorter"
    train(make("epochs=1"), folder)
    seconds = status_of(folder)["seconds"]
    train(make("epochs=3"), folder)
    train(make("epochs=4"), folder)
    rows = numbers(folder)
    former_ends = [row for row in rows if "queries" not in row and row["epoch"] in (1, 3)]
    assert [row for row in rows if row not in former_ends] == numbers(tmp_path / "longer")
    assert [row["epoch"] for row in former_ends] == [1, 3]
    assert weights_of(folder) == weights_of(tmp_path / "longer")
    assert yaml.safe_load((folder / "config.yaml").read_text())["epochs"] == 4
    status = status_of(folder)
    assert (status["state"], status["epoch"], status["epochs"]) == ("done", 4, 4)
    assert status["seconds"] > seconds


def weights_of(folder: Path) -> list[Any]:
    """All numbers of the trained policy."""
    state = load_newest(folder, torch.device("cpu"))
    assert state
    return [value.tolist() if isinstance(value, torch.Tensor) else value for value in flat(state["policy"])]


def flat(state: Any) -> list[Any]:
    """All leaves of nested mappings."""
    return [leaf for part in state.values() for leaf in flat(part)] if isinstance(state, dict) else [state]


def test_a_run_whose_policy_alone_was_kept_says_why_it_cannot_resume(
    small_finished: Path, small_run: MakeConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_finished, tmp_path / "run")
    (path,) = (folder / "checkpoint").iterdir()
    state = torch.load(path, weights_only=True)
    torch.save({key: state[key] for key in ("epoch", "policy", "metrics")}, path)
    before = (folder / "config.yaml").read_bytes()
    with pytest.raises(
        DifferentConfig, match="cannot be continued to 9 epochs, because an older version kept only its policy"
    ):
        train(small_run("epochs=9"), folder)
    assert (folder / "config.yaml").read_bytes() == before
    assert status_of(folder)["state"] == "done"


@pytest.mark.parametrize("epoch", [0, 2, 3])
def test_an_interrupted_run_says_so_and_resumes_to_the_same_numbers(
    small_finished: Path, small_run: MakeConfig, tmp_path: Path, epoch: int
) -> None:
    stopped(small_run(), tmp_path, epoch)
    status = status_of(tmp_path)
    assert (status["state"], status["reason"]) == ("killed", "interrupted")
    train(small_run(), tmp_path)
    assert numbers(tmp_path) == numbers(small_finished)
    assert status_of(tmp_path)["state"] == "done"
    assert status_of(tmp_path)["seconds"] > status["seconds"]


def test_a_torn_last_row_is_repaired_on_resuming(small_finished: Path, small_run: MakeConfig, tmp_path: Path) -> None:
    stopped(small_run(), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "queries": 8, "rew')
    train(small_run(), tmp_path)
    assert numbers(tmp_path) == numbers(small_finished)


def test_a_damaged_newest_checkpoint_is_named_and_never_passed_over(small_run: MakeConfig, tmp_path: Path) -> None:
    stopped(small_run(), tmp_path)
    newest = sorted((tmp_path / "checkpoint").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with pytest.raises(CorruptCheckpoint, match=newest.name) as raised:
        train(small_run(), tmp_path)
    assert "\n" not in str(raised.value)
    newest.unlink()
    train(small_run(), tmp_path)
    assert status_of(tmp_path)["state"] == "done"


def test_a_checkpoint_that_was_being_written_is_no_checkpoint(
    small_finished: Path, small_run: MakeConfig, tmp_path: Path
) -> None:
    stopped(small_run(), tmp_path)
    (tmp_path / "checkpoint" / "epoch-0002.partial").write_bytes(b"half a file")
    train(small_run(), tmp_path)
    assert numbers(tmp_path) == numbers(small_finished)
    assert not list((tmp_path / "checkpoint").glob("*.partial"))


def test_what_does_not_change_the_numbers_may_change_on_resuming(
    small_finished: Path, small_run: MakeConfig, tmp_path: Path
) -> None:
    stopped(small_run(), tmp_path)
    train(small_run("checkpoints_kept=1", "checkpoint_seconds=1000"), tmp_path)
    assert numbers(tmp_path) == numbers(small_finished)


def test_an_interrupt_while_a_checkpoint_is_written_stays_one() -> None:
    class Interrupted(io.BytesIO):
        def write(self, data: Any) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_state({"weights": torch.zeros(3)}, Interrupted())
