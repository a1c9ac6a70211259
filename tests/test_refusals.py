"""What cannot run is refused before any work, by `validate` and by the verb that would run it, in the same words."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ddpo_kernels.backend import unavailable

from ddpo_bench import cli

RUN = {"epochs": 1, "samples_per_epoch": 2, "micro_batch": 2, "sampler": {"steps": 2}, "evaluation": {"samples": 1}}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0, "steps_offset": 1}
EULER = {"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012}
Captured = pytest.CaptureFixture[str]

CASES: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any], str]] = {  # file, its changes, settings, the line
    "another process": (
        "scheduler/scheduler_config.json",
        FLOW,
        {},
        "policy.model: scheduler/scheduler_config.json: Fl",
    ),
    "a step without noise": (
        "scheduler/scheduler_config.json",
        {**EULER, "timestep_spacing": "linspace"},
        {},
        "the step at timestep 0 has no noise, and so no log-prob. Set timestep_spacing: leading and steps_offset: 1.",
    ),
    "noise from noise": (
        "scheduler/scheduler_config.json",
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {},
        "prediction_type: epsilon says nothing of x_0 at timestep 999, where alpha_bar is 0",
    ),
    "too many steps": (
        "scheduler/scheduler_config.json",
        {"num_train_timesteps": 100},
        {"sampler": {"steps": 200}},
        "sampler.steps: must lie in 1..100, the model's num_train_timesteps, got 200.",
    ),
    "another pipeline": (
        "model_index.json",
        {"_class_name": "StableDiffusionXLPipeline"},
        {},
        "is a StableDiffusionXLPipeline, which another policy trains. Write name: sdxl.",
    ),
    "a UNet for inpainting": ("unet/config.json", {"in_channels": 9}, {}, "an inpainting model"),
    "no size": ("unet/config.json", {"sample_size": None}, {}, "sample_size: None: write the latents' side there"),
    "eta above one": (
        "model_index.json",
        {},
        {"sampler": {"eta": 1.5}},
        "sampler.eta: must be at least 0 and at most 1",
    ),
    "no noise": ("model_index.json", {}, {"sampler": {"eta": 0}}, "sampler.eta: ddim has no noisy step here"),
    "no such model": ("model_index.json", {}, {"policy": {"model": "./nowhere"}}, "is neither a folder nor a hub name"),
    "no such logger": ("model_index.json", {}, {"logger": "tensorboard"}, "logger: tensorboard is not installed."),
}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    installed = importlib.util.find_spec

    def find_spec(name: str, *more: str) -> Any:
        return None if name == "tensorboard" else installed(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(path: Path, changes: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(changes)))


def refusal(capsys: Captured, *arguments: str) -> list[str]:
    """The lines with which a command refuses its input."""
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def settings(model: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**RUN, "policy": {"model": str(model)}, **changes}


@pytest.mark.parametrize("case", CASES)
def test_validate_and_train_refuse_the_same_in_the_same_words(model: Path, capsys: Captured, case: str) -> None:
    file, changes, chosen, line = CASES[case]
    edit(model / file, changes)
    Path("mine.yaml").write_text(yaml.safe_dump(settings(model, chosen)))
    (refused,) = refusal(capsys, "validate", "mine.yaml")
    assert refused.startswith("mine.yaml: ")
    assert line in refused
    assert refusal(capsys, "train", "mine.yaml") == [refused]
    assert not Path("results").exists()


def test_a_cell_that_cannot_run_is_refused_before_the_first_run_with_its_place(model: Path, capsys: Captured) -> None:
    flow = Path(shutil.copytree(model, "flow"))
    edit(flow / "scheduler" / "scheduler_config.json", FLOW)
    suite = {"base": settings(model, {}), "matrix": {"policy.model": ["model", "flow"], "sampler.steps": [2, 1000]}}
    Path("mine.yaml").write_text(yaml.safe_dump({**suite, "seeds": [0]}))
    lines = refusal(capsys, "validate", "mine.yaml")
    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
        "matrix.sampler.steps[1]",
        "matrix.policy.model[1]",
    ]
    assert "1000 steps with steps_offset: 1 would begin at timestep 1000; the model's last is 999." in lines[0]
    assert "FlowMatchEulerDiscreteScheduler: is of flow matching" in lines[1]
    for more in ([], ["--dry-run"]):
        assert refusal(capsys, "run", "mine.yaml", *more) == lines
    assert refusal(capsys, "run", "mine.yaml", "--only", "model-1000") == lines[:1]
    assert refusal(capsys, "work", "mine.yaml") == lines
    assert not Path("results").exists()


@pytest.mark.skipif(unavailable("cpu") is None, reason="the kernels run here")
def test_a_backend_that_cannot_run_here_is_refused_by_all(model: Path, capsys: Captured) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(settings(model, {"backend": "triton"})))
    (line,) = refusal(capsys, "validate", "mine.yaml")
    assert line.startswith("mine.yaml: backend: triton: ")
    assert refusal(capsys, "train", "mine.yaml") == [line]


@pytest.mark.parametrize(
    ("part", "change", "mistake"),
    [
        (
            "unet",
            {"block_out_channels": [16, 32]},
            "unet/config.json: no UNet2DConditionModel can be made of it: ValueError: ",
        ),
        ("unet", {"layers_per_block": 2}, "weights do not fit config.json: down_blocks.0."),
        ("text_encoder", {"max_position_embeddings": "x"}, "no CLIPTextModel can be made of it: "),
    ],
)
def test_networks_that_do_not_fit_their_weights_are_refused_as_they_are_when_loaded(
    model: Path, capsys: Captured, part: str, change: dict[str, Any], mistake: str
) -> None:
    edit(model / part / "config.json", change)
    Path("mine.yaml").write_text(yaml.safe_dump(settings(model, {})))
    (line,) = refusal(capsys, "validate", "mine.yaml")
    assert mistake in line
    assert refusal(capsys, "train", "mine.yaml") == [line]
