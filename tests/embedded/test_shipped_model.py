"""The shipped weights: format, size, silence, and pictures that show what was asked."""

from __future__ import annotations

import json
import logging
import socket

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.embedded.recipe import generate
from ddpo_bench.embedded.scenes import NOUNS, Scene, caption, sample_scene
from ddpo_bench.embedded.verifier import load_verifier
from ddpo_bench.embedded.verifier_training import accuracy


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    loaded = StableDiffusionPipeline.from_pretrained(MODEL_FOLDER, safety_checker=None).to(torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_folder_has_at_most_16_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL_FOLDER.rglob("*") if path.is_file()) <= 16e6


def test_it_loads_without_a_network_and_without_a_warning_about_the_model(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *address: pytest.fail("it asked the network"))
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
        caplog.set_level(logging.WARNING, library)
    StableDiffusionPipeline.from_pretrained(MODEL_FOLDER)
    assert caplog.messages == []
    assert recwarn.list == []


def test_the_recorded_quality_meets_the_bar() -> None:
    quality = json.loads((MODEL_FOLDER / "quality.json").read_text())
    assert quality["psnr_db"] >= 27
    assert quality["generated/noun"] >= 0.98
    assert quality["generated/count"] >= 0.98
    assert quality["generated/colour"] >= 0.98


def test_fresh_pictures_show_what_was_asked(pipeline: StableDiffusionPipeline) -> None:
    rng = np.random.default_rng(123)
    scenes = [sample_scene(rng) for _ in range(64)]
    found = accuracy(load_verifier(), generate(pipeline, scenes), scenes)
    assert found["noun"] > 0.75  # 64 pictures: three standard errors below the recorded figures
    assert found["count"] > 0.85
    assert found["colour"] > 0.9


def test_every_noun_is_drawn_when_it_alone_is_named_in_the_steps_of_the_suites(
    pipeline: StableDiffusionPipeline,
) -> None:
    prompts = [caption(Scene((noun,))) for noun in NOUNS for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    settings = {"num_inference_steps": 5, "guidance_scale": 1.0, "eta": 1.0, "output_type": "pt"}
    images = pipeline(prompts, generator=generator, **settings).images
    found = load_verifier().probabilities(images)["nouns"].view(len(NOUNS), 2, -1).mean(1).diagonal()
    assert {noun: value for noun, value in zip(NOUNS, found.tolist(), strict=True) if value < 0.5} == {}
    assert found.mean() > 0.9
