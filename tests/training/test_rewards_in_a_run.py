"""The user's own rewards in a run: how they fail it, and what they cannot change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_rows import numbers
from stopped_runs import MakeConfig, status_of

from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.training.trainer import train


def test_a_reward_that_raises_fails_the_run_with_its_reason(
    small_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_reward.py").write_text("def score(images, prompts, metadata): raise OSError('no judge')\n")
    with pytest.raises(RewardError, match="no judge"):
        train(small_run(reward="python:failing_reward:score"), tmp_path / "run")
    status = status_of(tmp_path / "run")
    assert (status["state"], status["reason"]) == (
        "failed",
        "RewardError: reward failing_reward:score: OSError: no judge (failing_reward.py, line 1, in score)",
    )


def test_a_reward_that_draws_random_numbers_gives_the_same_run_twice(
    small_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["import random, numpy, torch", "def score(images, prompts, metadata):"]
    lines += ["    return [random.random() + numpy.random.rand() + torch.rand(()).item() for _ in prompts]"]
    (tmp_path / "random_reward.py").write_text("\n".join(lines))
    config = small_run("epochs=1", reward="python:random_reward:score")
    for name in ("one", "two"):
        train(config, tmp_path / name)
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    assert json.loads((tmp_path / "one/provenance.json").read_text())["reward"] == "random_reward:score"
    assert "eval/random_reward:score" in numbers(tmp_path / "one")[0]


def test_a_reward_that_changes_the_images_changes_no_other_figure(
    small_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil = "def spoil(i, p, m):\n    i.zero_()\n    return [0.0] * len(p)\n"
    (tmp_path / "spoiling_reward.py").write_text(f"def look(i, p, m): return [1.0] * len(p)\n{spoil}")
    for name in ("look", "spoil"):
        train(small_run("epochs=0", reward=f"python:spoiling_reward:{name}"), tmp_path / name)
    ((looked,), (spoiled,)) = numbers(tmp_path / "look"), numbers(tmp_path / "spoil")
    assert looked.pop("eval/spoiling_reward:look") == 1
    assert spoiled.pop("eval/spoiling_reward:spoil") == 0
    assert looked == spoiled
    pictures = [(tmp_path / name / "samples/epoch-0000.png").read_bytes() for name in ("look", "spoil")]
    assert pictures[0] == pictures[1]
