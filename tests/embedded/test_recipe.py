"""A tiny run of the whole recipe: its stages fit each other, and what they make is what the package loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from ddpo_bench.embedded import autoencoder, decoder, denoiser, flow, flow_pairs, recipe, verifier_training
from ddpo_bench.embedded.fit import Schedule
from ddpo_bench.embedded.render import FONT_PATH


@pytest.mark.skipif(not FONT_PATH.exists(), reason="Noto Color Emoji is not installed")
def test_the_recipe_makes_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in (autoencoder, denoiser, decoder, verifier_training, flow):
        monkeypatch.setattr(stage, "SCHEDULES", {"cpu": Schedule(steps=2, batch=4)})
    monkeypatch.setattr(denoiser, "PART", 2)
    monkeypatch.setattr(denoiser, "CACHED_SCENES", {"cpu": 32})
    monkeypatch.setattr(flow_pairs, "PROMPTS", 2)
    monkeypatch.setattr(flow_pairs, "CHUNK", 2 * flow_pairs.STEPS)
    monkeypatch.setattr(flow, "PAIRS", {"cpu": 40})
    run_here = lambda stage, work, device: stage(work, torch.device(device))  # noqa: E731 - processes lose the patches
    monkeypatch.setattr(recipe, "run_stage", run_here)
    monkeypatch.setattr(recipe, "reconstruction_psnr", lambda model: 0.0)
    measure = recipe.evaluate
    monkeypatch.setattr(recipe, "evaluate", lambda model, samples: measure(model, samples=2))

    recipe.train(tmp_path, "cpu")

    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    fresh = denoiser.Denoiser(pipeline.tokenizer).unet.state_dict()
    assert any(not torch.equal(value.float(), fresh[name]) for name, value in pipeline.unet.state_dict().items())
    assert len(list((tmp_path / "latents").glob("*.pt"))) == 2
    assert (tmp_path / "model" / "quality.json").exists()
    assert (tmp_path / "flow_model" / "quality.json").exists()
