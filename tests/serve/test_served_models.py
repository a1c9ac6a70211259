"""The models themselves: which there are, what they share, and that a picture is that of `ddpo-bench sample`."""

from __future__ import annotations

import os
import pickle
import shlex
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import make_results, make_run

from ddpo_bench import cli
from ddpo_bench.parsing import ConfigError
from ddpo_bench.policies.sharing import weights_of
from ddpo_bench.serve.generation import Event, GenerateRequest
from ddpo_bench.serve.generator import Generator
from ddpo_bench.serve.settings import Settings
from ddpo_bench.training.checkpoint import CorruptCheckpoint

PRETRAINED = "pretrained/stable_diffusion/stable_diffusion"
PPO, LORA = "tiny/ppo-0123456789ab/seed-{}", "tiny/lora-0123456789ab/seed-{}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_results(tmp_path_factory.mktemp("served"), tiny_model)


@pytest.fixture
def generator(folder: Path) -> Generator:
    return Generator(Settings((folder / "results", folder / "my-lora")))


def drawn(generator: Generator, models: Sequence[str], **settings: Any) -> list[Event]:
    request = GenerateRequest(models=list(models), prompt="rain", **settings)
    return [event for event in generator.draw(generator.plan(request)) if event]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def test_there_are_the_runs_the_exports_and_what_all_of_them_were_before_training(generator: Generator) -> None:
    (family,) = generator.families()
    assert [model.id for model in family.models] == [
        PRETRAINED, LORA.format(0), LORA.format(1), PPO.format(0), PPO.format(1), "lora/my-lora"
    ]  # fmt: skip
    assert [model.kind for model in family.models] == ["pretrained", "run", "run", "run", "run", "lora"]
    assert {model.label for model in family.models} >= {"ppo seed 0", "my-lora", "pretrained"}


def test_without_anything_trained_there_is_the_embedded_model(tmp_path: Path) -> None:
    (family,) = Generator(Settings((tmp_path,))).families()
    assert [model.id for model in family.models] == ["pretrained/stable_diffusion/embedded"]


def test_every_picture_is_that_of_its_command_bit_for_bit(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "eta": 0.5, "seed": 7}
    models = [PRETRAINED, PPO.format(1), LORA.format(0), LORA.format(1), "lora/my-lora"]
    drawn(generator, [PRETRAINED, LORA.format(1)])  # so that other settings were in use before
    start, *steps, final = drawn(generator, models, **settings)
    assert [event.kind for event in steps] == ["step"] * 2
    assert final.pictures is not None
    for id in models:
        assert cli.main(shlex.split(start.data["command"][id])[1:]) == 0
        assert np.array_equal(pixels(final.pictures[id]), pixels(Path("picture.png").read_bytes())), id
    assert len({pixels(picture).tobytes() for picture in final.pictures.values()}) == 4  # an export is its run
    assert np.array_equal(pixels(final.pictures[LORA.format(1)]), pixels(final.pictures["lora/my-lora"]))
    assert final.data["scores"][PRETRAINED].keys() >= {"jpeg_compressibility", "jpeg_incompressibility"}


def test_the_prediction_of_a_deterministic_last_step_is_the_picture(generator: Generator) -> None:
    *_, last_step, final = drawn(generator, [PPO.format(0)], eta=0.0)
    assert last_step.pictures is not None
    assert final.pictures is not None
    difference = pixels(last_step.pictures[PPO.format(0)]).astype(int) - pixels(final.pictures[PPO.format(0)])
    assert abs(difference).max() <= 1


def test_lora_runs_share_one_base_in_memory(generator: Generator) -> None:
    first, _ = generator.loaded.get(generator.plan(request(PRETRAINED, LORA.format(0))).models)
    one = generator.loaded.held
    generator.loaded.get(generator.plan(request(LORA.format(1), "lora/my-lora")).models)
    trained = sum(4 * weight.numel() for weight in first.parameters())
    assert generator.loaded.held - one == 2 * trained
    assert trained < one / 20
    pointers = [{w.data_ptr() for w in weights_of(policy)} for _, _, policy in generator.loaded.kept.values()]
    assert len(set.intersection(*pointers)) > 50


def test_models_stay_within_the_memory_and_those_used_first_give_way(folder: Path, generator: Generator) -> None:
    generator.loaded.get(generator.plan(request(PPO.format(0))).models)
    whole = generator.loaded.held
    network = sum(4 * weight.numel() for weight in generator.loaded.kept[PPO.format(0)][2].parameters())
    limited = Generator(Settings((folder / "results",), memory=whole + network))
    for n in (0, 1, 0, 1, 1, 0):
        limited.loaded.get(limited.plan(request(PPO.format(n))).models)
        limited.loaded.get(limited.plan(request(LORA.format(n))).models)
        assert limited.loaded.held <= limited.loaded.limit
        assert list(limited.loaded.kept)[-1] == LORA.format(n)
    assert PPO.format(1) not in limited.loaded.kept
    with pytest.raises(ConfigError, match=r"together they take .* GB of the .* --memory"):
        Generator(Settings((folder / "results",), memory=network)).plan(request(PPO.format(0), PPO.format(1)))


def test_a_run_that_went_on_is_loaded_again(tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(tmp_path / "results" / "tiny", tiny_model, "ppo", 0)
    generator = Generator(Settings((tmp_path / "results",)))
    (before,) = generator.loaded.get(generator.plan(request(PPO.format(0))).models)
    (run / "checkpoint" / "epoch-0001.pt").rename(run / "checkpoint" / "epoch-0002.pt")
    (after,) = generator.loaded.get(generator.plan(request(PPO.format(0))).models)
    assert after is not before


def request(*models: str, **settings: Any) -> GenerateRequest:
    return GenerateRequest(models=list(models), prompt=settings.pop("prompt", "rain"), **settings)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (request("tiny/ppo-0123456789ab/seed-7"), "Did you mean 'tiny/ppo-0123456789ab/seed-"),
        (request("../../etc/passwd"), "unknown model"),
        (request(PRETRAINED, prompt="word " * 100), "prompt: is longer than the model's text encoder reads"),
        (request(PRETRAINED, "pretrained/stable_diffusion/other"), "models: are of several families"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_it_waits(
    folder: Path, tmp_path: Path, tiny_model: Path, wanted: GenerateRequest, told: str
) -> None:
    (tmp_path / "other").symlink_to(tiny_model)
    make_run(tmp_path / "results" / "more", tmp_path / "other", "ppo", 0)
    generator = Generator(Settings((folder / "results", tmp_path / "results")))
    with pytest.raises(ConfigError, match=told) as refused:
        generator.plan(wanted)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    run = make_run(tmp_path / "results" / "tiny", tiny_model, "ppo", 0)
    torch.save({"metrics": Evil()}, run / "checkpoint" / "epoch-0001.pt", pickle_module=pickle)
    generator = Generator(Settings((tmp_path / "results",)))
    with pytest.raises(CorruptCheckpoint):
        drawn(generator, [PPO.format(0)])
    assert not (tmp_path / "ran").exists()


def test_configurations_name_no_code_that_is_run(tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(tmp_path / "results" / "tiny", tiny_model, "ppo", 0)
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').mkdir()")
    text = (run / "config.yaml").read_text().partition("\n")[2]
    (run / "config.yaml").write_text(text.replace("name: jpeg_compressibility", f"name: python:{tmp_path}/evil.py:f"))
    generator = Generator(Settings((tmp_path / "results",)))
    assert [model.reward for model in generator.families()[0].models] == ["", f"python:{tmp_path}/evil.py:f"]
    assert drawn(generator, [PPO.format(0)])[-1].kind == "final"
    assert not (tmp_path / "ran").exists()
