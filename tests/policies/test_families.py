"""Every family computes what diffusers' own pipeline does, and what it trains can be loaded there again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from every_plugin import fits
from torch import Tensor

from ddpo_bench import registry
from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.options import options_of
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy
from ddpo_bench.policies.loading import import_pipeline

CPU, PROMPT, STEPS = torch.device("cpu"), "a dog", 3
FAMILIES = sorted(tiny_pipelines.FAMILIES)
Folders = Callable[[str], Path]
CALLS: dict[str, dict[str, Any]] = {  # what a pipeline is told, other than stable_diffusion's
    "stable_diffusion_3": {"max_sequence_length": 18},
    "flux": {"max_sequence_length": 18, "guidance_scale": 2.0, "true_cfg_scale": 3.0, "negative_prompt": ""},
    "sdxl": {"original_size": (40, 24), "crops_coords_top_left": (1, 2)},
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
    from diffusers import DDIMScheduler

    pipeline = import_pipeline(policy.layout.pipeline).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(pipeline.scheduler, DDIMScheduler):
        pipeline.scheduler = DDIMScheduler.from_config(policy.scheduler_config, set_alpha_to_one=False)
    return pipeline


def as_tokens(policy: DiffusersPolicy, x_t: Tensor) -> Tensor:
    """Latents as the pipeline takes and returns them."""
    packs = hasattr(policy.pipeline, "_pack_latents")
    return policy.pipeline._pack_latents(x_t, *x_t.shape) if packs else x_t


@torch.no_grad()
def drawn(policy: DiffusersPolicy, x_t: Tensor) -> Tensor:
    """x_0 by the deterministic sampler that fits the policy's scheduler."""
    ddim, ode = (registry.get("sampler", name) for name in ("ddim", "ode"))
    sampler = next(it for it in (ode(STEPS), ddim(STEPS, eta=0.0)) if fits(it, policy.scheduler_config))
    sampler.start(policy.scheduler_config, CPU)
    for k in range(STEPS):
        x_t = law_of(policy, sampler, x_t, torch.tensor([k]), policy.encode([PROMPT])).mean
    return x_t


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("guidance", "size"), [(3.0, {}), (1.0, {"height": 16, "width": 8})])
def test_latents_and_images_are_those_of_diffusers_own_pipeline(
    family: str, guidance: float, size: dict[str, int], tiny_pipeline: Folders
) -> None:
    policy = started(family, tiny_pipeline(family), guidance_scale=guidance, **OPTIONS.get(family, {}) | size)
    pipeline, asked = theirs(policy, tiny_pipeline(family)), {"guidance_scale": guidance} | CALLS.get(family, {})
    if family == "flux" and not policy.guided:
        del asked["negative_prompt"]
    x_t = torch.randn(1, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    height, width = (2 * side for side in x_t.shape[2:])
    asked |= {"height": height, "width": width, "num_inference_steps": STEPS, "latents": as_tokens(policy, x_t)}
    expected = pipeline(PROMPT, output_type="latent", **asked).images
    images = pipeline(PROMPT, output_type="pt", **asked).images
    x_t = drawn(policy, x_t)
    torch.testing.assert_close(as_tokens(policy, x_t), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(policy.decode(x_t), images, rtol=1e-5, atol=1e-5)
    assert images.shape == (1, 3, height, width)
    assert (expected - asked["latents"]).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_samples_prediction_does_not_depend_on_those_with_it(family: str, tiny_pipeline: Folders) -> None:
    policy, prompts = started(family, tiny_pipeline(family), guidance_scale=3.0), ["a dog", "two red cats", "a frog"]
    x_t = torch.randn(3, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    timesteps, conditioning = torch.tensor([900.0, 500.0, 20.0]), policy.encode(prompts)
    together = policy.predict(x_t, timesteps, conditioning).unflatten(0, (2, 3))
    for n in range(3):
        alone = policy.predict(x_t[n : n + 1], timesteps[n : n + 1], policy.encode(prompts[n : n + 1]))
        torch.testing.assert_close(together[:, n], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_what_was_trained_is_loaded_by_diffusers(
    family: str, adapter: str, tiny_pipeline: Folders, tmp_path: Path
) -> None:
    folder = tiny_pipeline(family)
    own = options_of(registry.get("policy", family))["adapter"].default
    policy = started(family, folder, adapter=dataclasses.replace(own, name=adapter))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    policy.save_for_diffusers(tmp_path / "trained")
    pipeline = import_pipeline(policy.layout.pipeline).from_pretrained(
        tmp_path / "trained" if adapter == "full" else folder
    )
    if adapter == "lora":
        pipeline.load_lora_weights(tmp_path / "trained")
    x_t, t = torch.ones(1, *policy.latent_shape), torch.tensor([300.0])
    conditioning = policy.encode([PROMPT])
    expected = policy.predict(x_t, t, conditioning)
    with torch.no_grad():
        found = policy.output(getattr(pipeline, policy.layout.trained), x_t, t, conditioning.tensors)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    with policy.copy("pretrained"):
        assert not torch.allclose(policy.predict(x_t, t, conditioning), expected, atol=1e-2)
