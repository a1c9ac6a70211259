"""The shipped flow model: size, quality, pictures that show what was asked, as diffusers draws them, and a training."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from ddpo_bench.config import run_config
from ddpo_bench.embedded import FLOW_MODEL_FOLDER, recipe
from ddpo_bench.embedded.scenes import sample_scene
from ddpo_bench.embedded.verifier import load_verifier
from ddpo_bench.embedded.verifier_training import accuracy
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.stable_diffusion_3 import StableDiffusion3
from ddpo_bench.samplers.ode import ODE
from ddpo_bench.training.record import Row
from ddpo_bench.training.trainer import train

POLICY: dict[str, Any] = {
    "model": "embedded-flow",
    "max_sequence_length": 1,
    "precision": "fp32",
    "adapter": Adapter(name="full"),
}
CPU, PROMPTS, STEPS = torch.device("cpu"), ["two frogs on a blue striped background", "a cat"], 4


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusion3Pipeline:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *address: pytest.fail("it asked the network"))
        loaded = recipe.load_pipeline(FLOW_MODEL_FOLDER)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_folder_has_at_most_14_megabytes() -> None:
    assert sum(path.stat().st_size for path in FLOW_MODEL_FOLDER.rglob("*") if path.is_file()) <= 14e6


def test_the_recorded_quality_is_that_of_the_model_card() -> None:
    quality = json.loads((FLOW_MODEL_FOLDER / "quality.json").read_text())
    assert quality["generated/noun"] >= 0.90
    assert quality["generated/count"] >= 0.95
    assert quality["generated/colour"] >= 0.98


def test_fresh_pictures_show_what_was_asked(
    pipeline: StableDiffusion3Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "STEPS", 8)
    rng = np.random.default_rng(123)
    scenes = [sample_scene(rng) for _ in range(64)]
    found = accuracy(load_verifier(), recipe.generate(pipeline, scenes), scenes)
    assert found["noun"] > 0.75  # 64 pictures: three standard errors below the recorded figures
    assert found["count"] > 0.85
    assert found["colour"] > 0.9


@torch.no_grad()
def test_the_policy_draws_the_pictures_of_diffusers_own_pipeline(pipeline: StableDiffusion3Pipeline) -> None:
    policy, sampler = StableDiffusion3(**POLICY), ODE(steps=STEPS)
    policy.start(CPU, seed=0)
    sampler.start(policy.scheduler_config, CPU)
    x_t = noise = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    conditioning = policy.encode(PROMPTS)
    for k in range(STEPS):
        output = policy.predict(x_t, sampler.timesteps[[k, k]], conditioning)
        x_t = sampler.law(output, x_t, torch.tensor([k, k]), 1.0).mean
    expected = pipeline(
        PROMPTS, latents=noise, num_inference_steps=STEPS, guidance_scale=1.0, max_sequence_length=1, output_type="pt"
    )
    torch.testing.assert_close(policy.decode(x_t), expected.images, atol=1e-4, rtol=0)


def test_it_is_trained_with_ratios_of_exactly_one_before_an_update(tmp_path: Path) -> None:
    config = {
        "policy": POLICY | {"name": "stable_diffusion_3", "adapter": {"name": "full"}},
        "sampler": {"name": "flow_sde", "steps": 3},
        "algorithm": {"name": "grpo", "learning_rate": 1e-4},
        "advantages": "group",
        "samples_per_epoch": 8,
        "samples_per_prompt": 4,
        "epochs": 2,
        "evaluation": {"samples": 2},
    }
    rows: list[Row] = []
    train(run_config(config, "test"), tmp_path / "run", rows.append)
    first, second = (row for row in rows if "ratio_deviation_max" in row)
    assert first["ratio_deviation_max"] == 0
    assert second["kl_reference"] > 0
