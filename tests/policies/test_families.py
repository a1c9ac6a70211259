"""Every family computes what diffusers' own pipeline does, and what it trains can be loaded there again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from torch import Tensor

from ddpo_bench import registry
from ddpo_bench.options import options_of
from ddpo_bench.policies import pipeline_folder
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy
from ddpo_bench.policies.loading import import_pipeline

CPU, PROMPT, STEPS = torch.device("cpu"), "a dog", 3
FAMILIES = sorted(tiny_pipelines.FAMILIES)
Folders = Callable[[str], Path]
CALLS: dict[str, dict[str, Any]] = {  # what a pipeline is told, other than stable_diffusion's
    "aura_flow": {"max_sequence_length": 18},
    "stable_diffusion_3": {"max_sequence_length": 18},
    "flux": {"max_sequence_length": 18},
    "qwen_image": {"max_sequence_length": 24},
    "z_image": {"max_sequence_length": 48},
    "sdxl": {"original_size": (40, 24), "crops_coords_top_left": (1, 2)},
}
GUIDANCE: dict[str, Callable[[float], dict[str, Any]]] = {  # as a pipeline is told of it, where not plainly
    "flux": lambda scale: {"guidance_scale": 2.0, "true_cfg_scale": scale, "negative_prompt": ""},
    "qwen_image": lambda scale: {"true_cfg_scale": scale, "negative_prompt": " "},
    "z_image": lambda scale: {"guidance_scale": scale - 1},
}
OPTIONS: dict[str, dict[str, Any]] = {  # and the policy, that they mean the same
    "flux": {"distilled_guidance": 2.0},
    "sdxl": {"original_size": (40, 24), "crops_coords_top_left": (1, 2)},
}


def started(family: str, folder: Path, **options: Any) -> DiffusersPolicy:
    known = tiny_pipelines.QUICK.get(family, {}) | {"model": str(folder), "precision": "fp32"} | options
    policy: DiffusersPolicy = registry.get("policy", family)(**known)
    assert policy.mistakes() == policy.architecture_mistakes() == []
    policy.start(CPU, seed=0)
    return policy


def theirs(policy: DiffusersPolicy, folder: Path) -> Any:
    """Diffusers' own pipeline, whose steps are deterministic."""
    absent = {part: None for part in policy.layout.parts if part not in policy.present.parts}
    pipeline = import_pipeline(policy.layout.pipeline).from_pretrained(folder, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def as_tokens(policy: DiffusersPolicy, x_t: Tensor) -> Tensor:
    """Latents as the pipeline takes and returns them."""
    packs = hasattr(policy.pipeline, "_pack_latents")
    return policy.pipeline._pack_latents(x_t, *x_t.shape) if packs else x_t


def told(policy: DiffusersPolicy, family: str, x_t: Tensor) -> dict[str, Any]:
    """What a pipeline is told to draw as the policy does from x_t, [1, C, H, W]."""
    guidance = GUIDANCE.get(family, lambda scale: {"guidance_scale": scale})(policy.guidance_scale)
    size = {"height": 2 * x_t.shape[2], "width": 2 * x_t.shape[3]}
    start = {"num_inference_steps": STEPS, "latents": as_tokens(policy, x_t)}
    return guidance | size | start | CALLS.get(family, {})


def drawn(policy: DiffusersPolicy, x_t: Tensor, timesteps: Tensor) -> Tensor:
    """The deterministic sampler's latents.

    Args:
        timesteps: as the pipeline has them.
    """
    name, options = ("ode", {}) if policy.scheduler_config["_class_name"].startswith("Flow") else ("ddim", {"eta": 0.0})
    sampler, conditioning = registry.get("sampler", name)(steps=STEPS, **options), policy.encode([PROMPT])
    sampler.start(policy.scheduler_config, CPU)
    torch.testing.assert_close(sampler.timesteps, timesteps, rtol=1e-6, atol=0)
    for k in range(STEPS):
        output = policy.predict(x_t, sampler.timesteps[k : k + 1], conditioning).detach()
        x_t = sampler.law(output, x_t, torch.tensor([k]), policy.guidance_scale).mean
    return x_t


WITHOUT_T5 = ("stable_diffusion_3", {"with_t5": False, "use_dynamic_shifting": True, "base_image_seq_len": 4})
SCHNELL = ("flux", {"distilled": False, "use_dynamic_shifting": False, "shift": 1.0})


@pytest.mark.parametrize(("family", "built"), [*((family, {}) for family in FAMILIES), WITHOUT_T5, SCHNELL])
@pytest.mark.parametrize(("guidance", "size"), [(3.0, {}), (1.0, {"height": 16, "width": 8})])
def test_latents_and_images_are_those_of_diffusers_own_pipeline(
    family: str, built: dict[str, Any], guidance: float, size: dict[str, int], tiny_pipeline: Folders, tmp_path: Path
) -> None:
    folder = tiny_pipelines.build(family, tmp_path / "built", **built) if built else tiny_pipeline(family)
    options = OPTIONS.get(family, {}) if "distilled" not in built else {}
    policy = started(family, folder, guidance_scale=guidance, **options | size)
    x_t = torch.randn(1, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    pipeline, asked = theirs(policy, folder), told(policy, family, x_t)
    expected = pipeline(PROMPT, output_type="latent", **asked).images
    images = pipeline(PROMPT, output_type="pt", **asked).images
    x_0 = drawn(policy, x_t, pipeline.scheduler.timesteps)
    torch.testing.assert_close(as_tokens(policy, x_0), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(policy.decode(x_0), images, rtol=1e-4, atol=1e-5)
    assert images.shape == (1, 3, asked["height"], asked["width"])
    assert (x_0 - x_t).abs().max() > 0.1
    assert len(policy.origin()["notes"]) == bool(built)


def test_a_folder_of_another_family_is_refused_with_that_familys_name(tiny_pipeline: Folders) -> None:
    for family, other in itertools.permutations(FAMILIES, 2):
        (mistake,) = registry.get("policy", family)(model=str(tiny_pipeline(other))).mistakes()
        assert mistake.startswith(f"policy.model: {tiny_pipeline(other)} is a ")
        assert mistake.endswith(f", which another policy trains. Write name: {other}.")


@pytest.mark.parametrize(
    ("family", "options", "mistake"),
    [
        ("sdxl", {"model": "embedded"}, "Write name: stable_diffusion."),
        ("sdxl", {"height": 15}, "policy.height: 15: must be a multiple of 2 for this model. Write 14 or 16."),
        ("flux", {"width": 6}, "policy.width: 6: must be a multiple of 4 for this model. Write 4 or 8."),
        ("stable_diffusion_3", {"width": 64}, "policy.width: this model's positions end at 32 pixels. Write less."),
        ("stable_diffusion_3", {"variant": "fp16"}, "transformer has no weights of variant 'fp16'. It has: none."),
        ("stable_diffusion_3", {"max_sequence_length": 0}, "this model has a T5 text encoder. Write 256."),
        (
            "flux",
            {"adapter": Adapter("lora", target_modules=("to_qq",))},
            "policy.adapter.target_modules: unknown layer 'to_qq'. Did you mean 'to_q'? Known: ",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_line(
    family: str, options: dict[str, Any], mistake: str, tiny_pipeline: Folders
) -> None:
    (found,) = registry.get("policy", family)(**{"model": str(tiny_pipeline(family))} | options).mistakes()
    assert mistake in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("flux", "for inpainting"),
        ("stable_diffusion_3", "latents have 4"),
        ("qwen_image", "tokens have 16"),
        ("z_image", "latents have 4"),
    ],
)
def test_a_transformer_that_needs_images_too_is_refused(
    family: str, expected: str, tiny_pipeline: Folders, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_pipeline(family), tmp_path / "model"))
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 96}))
    (mistake,) = registry.get("policy", family)(str(folder)).mistakes()
    assert "in_channels: 96, but" in mistake
    assert expected in mistake


def test_a_pipeline_that_this_diffusers_does_not_have_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_folder, "version", lambda name: "0.38.0")
    (mistake,) = registry.get("policy", "z_image")(model="owner/name").mistakes()
    assert mistake == "policy.name: ZImagePipeline needs diffusers 0.39, not 0.38.0: pip install -U diffusers."
    assert registry.get("policy", "qwen_image")(model="owner/name").mistakes() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_samples_prediction_does_not_depend_on_those_with_it(family: str, tiny_pipeline: Folders) -> None:
    policy, prompts = (
        started(family, tiny_pipeline(family), guidance_scale=3.0),
        ["a dog", "two red cats", "a small frog on a green lily pad"],
    )
    x_t = torch.randn(3, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    timesteps, conditioning = torch.tensor([900.0, 500.0, 20.0]), policy.encode(prompts)
    together = policy.predict(x_t, timesteps, conditioning).unflatten(0, (2, 3))
    for n in range(3):
        alone = policy.predict(x_t[n : n + 1], timesteps[n : n + 1], policy.encode(prompts[n : n + 1]))
        torch.testing.assert_close(together[:, n], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_what_was_trained_draws_the_same_pictures_in_diffusers(
    family: str, adapter: str, tiny_pipeline: Folders, tmp_path: Path
) -> None:
    folder = tiny_pipeline(family)
    own = options_of(registry.get("policy", family))["adapter"].default
    options = {"adapter": dataclasses.replace(own, name=adapter, alpha=16), "guidance_scale": 2.0}
    policy = started(family, folder, **options | OPTIONS.get(family, {}))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    policy.save_trained(policy.state_dict(), tmp_path)
    x_t = torch.randn(1, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    asked = told(policy, family, x_t)

    def compare(base: Path, *weights: str | None) -> None:
        pipeline = theirs(policy, base)
        for name in weights:
            pipeline.load_lora_weights(tmp_path, weight_name=name)
        images = pipeline(PROMPT, output_type="pt", **asked).images
        expected = policy.decode(drawn(policy, x_t, pipeline.scheduler.timesteps))
        assert torch.allclose(images, expected, rtol=1e-4, atol=1e-4) is (bool(weights) or base == tmp_path)

    if adapter == "full":
        compare(tmp_path)
    else:
        compare(folder, None)
    if (tmp_path / "kohya.safetensors").exists():
        compare(folder, "kohya.safetensors")
    compare(folder)
