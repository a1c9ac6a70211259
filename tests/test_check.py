"""`check`: the verdict on one short epoch, its exit codes, and that it leaves nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.commands import check
from ddpo_bench.config import run_config
from ddpo_bench.training import launch

SMALL = {
    "policy": "pooled", "sampler": {"name": "constant_sde", "steps": 2}, "prompts": "weather", "reward": "redness",
    "samples_per_epoch": 64, "micro_batch": 16, "epochs": 50,
}  # fmt: skip
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, and where temporary folders are made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def run(algorithm: Any = "ppo", **others: Any) -> str:
    Path("mine.yaml").write_text(yaml.safe_dump(SMALL | {"algorithm": algorithm} | others))
    return "mine.yaml"


def spoiled(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    """Let training write other values of metrics."""
    from ddpo_bench.training.record import RunFolder

    write: Callable[..., None] = RunFolder.row
    monkeypatch.setattr(RunFolder, "row", lambda self, row: write(self, row | values))


def test_a_sound_setting_is_ok_with_the_time_of_an_epoch_and_nothing_is_left(place: Path, capsys: Captured) -> None:
    assert cli.main(["check", run()]) == 0
    assert "mine: ok; an epoch of 64 samples would take " in capsys.readouterr().out
    assert not any(place.glob("ddpo-bench-*"))


def test_what_is_wrong_is_told_in_words_with_exit_code_3(
    place: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, ratio_deviation_max=0.01)
    assert cli.main(["check", run()]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("mine: 1 finding; an epoch of 64 samples would take ")
    assert lines[-2].endswith("rounding explains at most 0.0001. See docs/diagnosis.md#ratio-not-one.")


def test_every_different_setting_of_a_suite_is_tried_once(
    place: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def broken(config: Any, folder: Path, on_row: Any) -> None:
        tried.append(config.algorithm.name)
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(launch, "train_on_processes", broken)
    matrix = {"algorithm": ["frozen", "ppo", "policy_gradient"], "reward": ["redness", "jpeg_compressibility"]}
    base = {key: value for key, value in SMALL.items() if key != "reward"}
    Path("mine.yaml").write_text(yaml.safe_dump({"base": base, "matrix": matrix, "seeds": [0, 1]}))
    assert cli.main(["check", "mine.yaml"]) == 2
    assert tried == ["ppo", "policy_gradient"]
    assert "ppo-redness: failed: ZeroDivisionError: on purpose" in capsys.readouterr().out
    assert not any(place.glob("ddpo-bench-*"))


def test_an_interrupt_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(config: Any, folder: Path, on_row: Any) -> None:
        (folder / "checkpoint").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "train_on_processes", interrupted)
    assert cli.main(["check", run()]) == cli.INTERRUPTED
    assert not any(place.glob("ddpo-bench-*"))


@pytest.mark.parametrize(
    ("algorithm", "mistake"),
    [("pppo", "unknown algorithm 'pppo'"), ("frozen", "mine.yaml: algorithm: nothing to check, because none learns.")],
)
def test_wrong_input_is_exit_code_1(place: Path, capsys: Captured, algorithm: str, mistake: str) -> None:
    assert cli.main(["check", run(algorithm)]) == 1
    assert mistake in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({}, 16), ({"samples_per_epoch": 8}, 8), ({"samples_per_prompt": 6, "samples_per_epoch": 60}, 12),
        ({"samples_per_prompt": 24, "samples_per_epoch": 96}, 48),
    ],
)  # fmt: skip
def test_the_epoch_is_short_and_holds_whole_groups(settings: dict[str, Any], samples: int) -> None:
    config = check.shortened(run_config(SMALL | {"algorithm": "ppo"} | settings, "test"))
    assert (config.samples_per_epoch, config.epochs) == (samples, 1)


def test_a_warm_up_is_gone_through() -> None:
    config = run_config(SMALL | {"algorithm": {"name": "sac", "warmup_epochs": 2}}, "test")
    assert check.shortened(config).epochs == 3


@pytest.mark.long
@pytest.mark.parametrize("algorithm", ["ppo", "grpo", "nft"])
def test_the_shipped_defaults_are_sound_on_a_diffusion_model(
    place: Path, tiny_model: Path, capsys: Captured, algorithm: str
) -> None:
    others = {"policy": {"name": "stable_diffusion", "model": str(tiny_model)}, "prompts": "simple_animals"}
    sampler = {"sampler": {"name": "ddim", "steps": 2}, "reward": "jpeg_compressibility"}
    groups = {"advantages": "group", "samples_per_prompt": 8}
    code = cli.main(["check", run(algorithm, **others, **sampler, **groups)])
    assert code == 0, capsys.readouterr().out
