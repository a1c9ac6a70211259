"""What a folder that holds a run already, or what is left of one, accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from run_rows import numbers
from stopped_runs import MakeConfig, status_of, stopped

from ddpo_bench.training.run_identity import DifferentConfig
from ddpo_bench.training.trainer import train


def test_a_finished_run_is_not_run_again(small_finished: Path, small_run: MakeConfig) -> None:
    before = {path: path.read_bytes() for path in small_finished.rglob("*") if path.is_file()}
    train(small_run(), small_finished, lambda row: pytest.fail("it trained"))
    assert {path: path.read_bytes() for path in small_finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("override", "key"), [("algorithm.learning_rate=1e-5", "algorithm"), ("seed=3", "seed"), ("epochs=2", "epochs")]
)
def test_another_configuration_in_the_same_folder_is_refused_by_its_key(
    small_finished: Path, small_run: MakeConfig, override: str, key: str
) -> None:
    with pytest.raises(DifferentConfig, match=f"another {key}\\.") as raised:
        train(small_run(override), small_finished)
    assert "\n" not in str(raised.value)
    assert status_of(small_finished)["state"] == "done"


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("policy", "policy={name: stable_diffusion, model: /nowhere}"),
        ("prompts", "prompts.path=nowhere.txt"),
        ("reward", "reward=python:nowhere:score"),
        ("reward that breaks at its first images", "reward=python:breaking_reward:score"),
    ],
)
def test_a_run_that_cannot_start_leaves_its_folder_to_the_mended_configuration(
    small_finished: Path, small_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breaking_reward.py").write_text("def score(images, prompts, metadata): raise OSError('no judge')\n")
    with pytest.raises(Exception, match=r"nowhere|no judge"):
        train(small_run(wrong), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").exists() == (part not in ("policy", "prompts", "reward"))
    train(small_run(), tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(small_finished)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == small_run().to_dict()


def test_a_file_changed_since_the_run_began_is_refused_by_its_name(
    small_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "".join(f"prompt {i}\n" for i in range(40))
    (tmp_path / "own.txt").write_text(text)
    config = small_run("epochs=1", prompts={"name": "from_file", "path": "own.txt"})
    stopped(config, tmp_path / "run", 1)
    assert json.loads((tmp_path / "run/provenance.json").read_text())["inputs"]["prompts.path"].keys() == {"own.txt"}
    (tmp_path / "own.txt").write_text(text + "another prompt\n")
    with pytest.raises(DifferentConfig, match=r"^prompts.path \(own.txt\): changed since this command began"):
        train(config, tmp_path / "run")
    again = small_run("epochs=1", prompts={"name": "from_file", "path": "own.txt"})
    with pytest.raises(DifferentConfig, match=r"other input files; changed since: prompts.path \(own.txt\)\."):
        train(again, tmp_path / "run")
    (tmp_path / "own.txt").unlink()
    with pytest.raises(DifferentConfig, match=r"^A file that the run reads has changed: path: no such file 'own.txt'"):
        train(again, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/own.txt").write_text(text)
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(small_run("epochs=1", prompts={"name": "from_file", "path": "./own.txt"}), tmp_path / "run")
    assert status_of(tmp_path / "run")["state"] == "done"
