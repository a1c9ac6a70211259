"""More epochs for a finished suite continue its runs, and give the numbers of a suite that was planned longer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from real_sweep import outcome, write_real_suite
from run_rows import numbers

from ddpo_bench.run_folder.status import mark, read_status
from ddpo_bench.sweep.longer import begin_from_shorter
from ddpo_bench.sweep.plan import PlannedRun, runs_of
from ddpo_bench.sweep.suite import load_suite
from ddpo_bench.training.trainer import train

EPOCHS = 3


@pytest.fixture(scope="module")
def planned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], PlannedRun]:
    """The only run of a suite that has so many epochs."""
    suite = write_real_suite(tmp_path_factory.mktemp("suite"), tiny_model)

    def make(epochs: int) -> PlannedRun:
        (run,) = runs_of(load_suite(suite, [f"epochs={epochs}"]))
        return run

    return make


@pytest.fixture(scope="module")
def shorter(planned: Callable[[int], PlannedRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one epoch, and of two."""
    root = tmp_path_factory.mktemp("results")
    for epochs in (1, 2):
        train(planned(epochs).config, root / planned(epochs).folder)
    return root


@pytest.fixture
def root(shorter: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shorter, tmp_path / "results")


def test_a_longer_run_resumes_from_the_longest_shorter_one_to_the_same_numbers(
    planned: Callable[[int], PlannedRun], root: Path, tmp_path: Path
) -> None:
    before, run = outcome(root), planned(EPOCHS)
    begin_from_shorter(root, [run])
    folder = root / run.folder
    status = read_status(folder)
    assert (status["state"], status["epoch"], status["epochs"]) == ("killed", 2, EPOCHS)
    epochs = []
    train(run.config, folder, lambda row: epochs.append(row["epoch"]) if "queries" in row else None)
    assert epochs == [EPOCHS]
    train(run.config, tmp_path / "planned")
    added = [row for row in numbers(folder) if row["epoch"] == 2 and "queries" not in row]
    assert len(added) == 1
    assert [row for row in numbers(folder) if row not in added] == numbers(tmp_path / "planned")
    last = f"samples/epoch-{EPOCHS:04d}.png"
    assert (folder / last).read_bytes() == (tmp_path / "planned" / last).read_bytes()
    assert len(list((root / planned(2).folder / "checkpoint").iterdir())) == 1
    shutil.rmtree(folder.parent)
    assert outcome(root) == before  # the shorter runs are as they were


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-99])


def newest(folder: Path) -> Path:
    return max((folder / "checkpoint").iterdir())


def keep_the_policy_alone(folder: Path) -> None:
    state = torch.load(newest(folder), weights_only=True)
    torch.save({key: state[key] for key in ("epoch", "policy", "metrics")}, newest(folder))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: cut(folder / "status.json"),
        lambda folder: cut(folder / "metrics.jsonl"),
        lambda folder: cut(newest(folder)),
        lambda folder: mark(folder, "failed", "no reason"),
        keep_the_policy_alone,  # as older versions did
    ],
)
def test_a_run_that_cannot_resume_is_passed_over(
    planned: Callable[[int], PlannedRun], root: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(root / planned(2).folder)
    begin_from_shorter(root, [planned(EPOCHS)])
    assert read_status(root / planned(EPOCHS).folder)["epoch"] == 1
    spoil(root / planned(1).folder)
    begin_from_shorter(root, [planned(EPOCHS + 1)])
    assert not (root / planned(EPOCHS + 1).folder).exists()


def test_a_run_that_another_worker_has_begun_meanwhile_stays_as_it_is(
    planned: Callable[[int], PlannedRun], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(EPOCHS)
    rename = Path.rename

    def begun_meanwhile(self: Path, target: Path) -> Path:
        Path(target).mkdir()
        (Path(target) / "status.json").write_text('{"state": "running"}')
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", begun_meanwhile)
    begin_from_shorter(root, [run])
    assert os.listdir(root / run.folder) == ["status.json"]
    assert os.listdir((root / run.folder).parent) == ["seed-0"]


def test_other_settings_and_other_seeds_begin_anew(planned: Callable[[int], PlannedRun], root: Path) -> None:
    run = planned(EPOCHS)
    for changes in ({"seed": 1}, {"samples_per_epoch": 8}):
        config = replace(run.config, **changes)
        other = PlannedRun(run.cell, config, Path("runs", f"{run.cell}-{config.identity()}", f"seed-{config.seed}"))
        begin_from_shorter(root, [other])
        assert not (root / other.folder).exists()
