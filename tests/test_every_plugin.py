"""Every plugin, shipped or made up in tests/plugins, trains from end to end without a change elsewhere.

The run is tiny: a network of 57 inputs, weather as prompts, and how red a picture is as the reward.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from every_combination import COMMON
from every_plugin import NEEDS, make, options_for, policy_for, sampler_for
from run_rows import numbers, rows_of

from ddpo_bench.config import ConfigError, RunConfig, run_config
from ddpo_bench.options import options_of
from ddpo_bench.preflight.startup import config_mistakes
from ddpo_bench.protocols import Algorithm
from ddpo_bench.registry import FOLDERS, get, names
from ddpo_bench.training.checkpoint import load_newest
from ddpo_bench.training.trainer import train

BASE: dict[str, Any] = {
    "policy": "pooled",
    "sampler": {"name": "constant_sde", "steps": 4},
    "prompts": "weather",
    "reward": "redness",
    "algorithm": {"name": "ppo", "learning_rate": 0.01},
    "samples_per_epoch": 16,
    "samples_per_prompt": 2,
    "micro_batch": 8,
    "epochs": 2,
    "evaluation": {"samples": 8},
    "checkpoint_seconds": 0,
}
EVERY = [
    (kind, name)
    for kind in FOLDERS
    for name in names(kind)
    if kind != "prompts" and "model" not in options_of(get(kind, name))  # pipelines train in tests/training
]
EVERY += [("reward", "vlm_judge"), ("reward", "vqa_strict")]
EVERY.append(("reward", "aesthetic"))  # the other rewards with a model are loaded and called alike
LARGER = {"samples_per_epoch": 64, "micro_batch": 64, "evaluation": {"samples": 32}}
LEARNABLE = [  # samplers: one of each process
    (kind, name)
    for kind, name in EVERY
    if kind != "reward" and getattr(get(kind, name), "learns", True) and (kind != "sampler" or name in COMMON)
]
MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def config_of(user_files: Path) -> MakeConfig:
    """Makes the tiny run with one plugin in its place, and a policy and a sampler that go together."""

    def make_config(kind: str, name: str, **changes: Any) -> RunConfig:
        rate = {"learning_rate": 0.01} if "learning_rate" in options_of(get(kind, name)) else {}
        data = BASE | NEEDS.get((kind, name), {}) | {kind: {"name": name, **rate, **options_for(kind, name)}}
        if kind == "policy":
            data["sampler"] = sampler_for(make("policy", name))
        if kind == "sampler":
            data["policy"] = policy_for(make("sampler", name))
        if kind == "reward" and (kind, name) not in NEEDS:
            data["prompts"] = "simple_animals"  # which every reward can judge
        return run_config(data | changes, "test")

    return make_config


def stop_at_the_second_row(row: dict[str, Any]) -> None:
    if row["epoch"] == 2 and "sampled" not in row:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_run_resumes_bit_for_bit(kind: str, name: str, config_of: MakeConfig, tmp_path: Path) -> None:
    config = config_of(kind, name)
    assert config_mistakes(config) == []
    train(config, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped", stop_at_the_second_row)
    train(config, tmp_path / "stopped")
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "unbroken")
    states = [load_newest(tmp_path / run, torch.device("cpu")) for run in ("stopped", "unbroken")]
    one, other = (
        {part: str(state[part]) for part in ("policy", "algorithm", "advantages", "reward")} for state in states
    )
    assert one == other


@pytest.mark.parametrize(("kind", "name"), LEARNABLE)
def test_learning_raises_the_reward_of_held_out_prompts(
    kind: str, name: str, config_of: MakeConfig, tmp_path: Path
) -> None:
    """Above that of the first evaluation, which is exactly what frozen keeps, on average over two seeds."""
    gains = []
    for seed in range(2):
        train(config_of(kind, name, seed=seed, epochs=6, **LARGER), tmp_path / str(seed))
        before, after = (row["eval/redness"] for row in rows_of(tmp_path / str(seed)) if "eval/redness" in row)
        gains.append(after - before)
    assert sum(gains) / len(gains) > 0.005


def test_what_does_not_go_together_is_refused_before_anything_starts() -> None:
    gradient = {"algorithm": "reward_gradient", "reward": "jpeg_compressibility"}
    with pytest.raises(ConfigError, match=r"^test: reward: jpeg_compressibility is not differentiable"):
        run_config(BASE | gradient, "test")
    (mistake,) = config_mistakes(run_config(BASE | {"sampler": "ddim"}, "test"))
    assert "FlowMatchEulerDiscreteScheduler: is of flow matching" in mistake


def test_auto_is_refused_where_an_algorithm_cannot_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get("algorithm", "ppo"), "probe", Algorithm.probe)
    automatic = BASE | {"micro_batch": "auto"}
    (mistake,) = config_mistakes(run_config(automatic, "test"))
    assert mistake == "micro_batch: auto needs a method `probe`, which ppo lacks; set it to a number."
    assert config_mistakes(run_config(BASE, "test")) == []
    assert config_mistakes(run_config(automatic | {"algorithm": "frozen"}, "test")) == []
