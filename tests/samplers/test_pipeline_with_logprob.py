"""The pipeline call with log-probs, against diffusers' own call on the tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ddpo_kernels import NoDensity
from diffusers import DDIMScheduler, StableDiffusionPipeline

from ddpo_bench.samplers import pipeline_with_logprob
from ddpo_bench.samplers.ddim_step import ddim_step_with_logprob

STEPS = 4
PROMPTS = ["a dog", "two cats"]


@pytest.fixture(scope="module")
def pipeline(tiny_model: Path) -> StableDiffusionPipeline:
    loaded = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None, requires_safety_checker=False)
    loaded.scheduler = DDIMScheduler.from_config(loaded.scheduler.config, set_alpha_to_one=False)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_latents_and_log_probs_tell_the_whole_trajectory(
    pipeline: StableDiffusionPipeline, guidance_scale: float
) -> None:
    images, latents, log_probs = pipeline_with_logprob(
        pipeline, PROMPTS, num_inference_steps=STEPS, guidance_scale=guidance_scale, generator=generator()
    )
    assert images.shape == (2, 3, 16, 16)
    assert 0 <= images.min() < images.max() <= 1
    assert [tuple(x.shape) for x in latents] == [(2, 4, 8, 8)] * (STEPS + 1)
    assert [tuple(x.shape) for x in log_probs] == [(2,)] * STEPS
    assert all(torch.isfinite(x).all() for x in log_probs)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_the_images_are_those_of_diffusers_own_call(pipeline: StableDiffusionPipeline, guidance_scale: float) -> None:
    noise = torch.randn(2, 4, 8, 8, generator=generator())
    settings = {"num_inference_steps": STEPS, "guidance_scale": guidance_scale, "eta": 1.0, "output_type": "pt"}
    found = pipeline_with_logprob(pipeline, PROMPTS, generator=generator(), latents=noise, **settings)[0]
    expected = pipeline(PROMPTS, generator=generator(), latents=noise, **settings).images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_without_latents_the_noise_is_that_of_diffusers_own_call(pipeline: StableDiffusionPipeline) -> None:
    settings = {"num_inference_steps": STEPS, "guidance_scale": 1.0, "eta": 1.0, "output_type": "pt"}
    found = pipeline_with_logprob(pipeline, PROMPTS, generator=generator(), **settings)[0]
    expected = pipeline(PROMPTS, generator=generator(), **settings).images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_guidance_changes_the_images(pipeline: StableDiffusionPipeline) -> None:
    plain, guided = (
        pipeline_with_logprob(pipeline, PROMPTS, num_inference_steps=2, guidance_scale=w, generator=generator())[0]
        for w in (1.0, 5.0)
    )
    assert not torch.allclose(plain, guided, atol=1e-3)


def test_prompt_embeddings_stand_for_their_prompts(pipeline: StableDiffusionPipeline) -> None:
    embeddings, unconditional = pipeline.encode_prompt(PROMPTS, torch.device("cpu"), 1, True)
    by_text = pipeline_with_logprob(pipeline, PROMPTS, num_inference_steps=2, generator=generator())
    by_vectors = pipeline_with_logprob(
        pipeline,
        prompt_embeds=embeddings,
        negative_prompt_embeds=unconditional,
        num_inference_steps=2,
        generator=generator(),
    )
    assert torch.equal(by_text[0], by_vectors[0])


def test_a_log_prob_is_that_of_the_step_scored_again(pipeline: StableDiffusionPipeline) -> None:
    embeddings, _ = pipeline.encode_prompt(PROMPTS, torch.device("cpu"), 1, False)
    _, latents, log_probs = pipeline_with_logprob(
        pipeline, PROMPTS, num_inference_steps=STEPS, guidance_scale=1.0, generator=generator()
    )
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(STEPS)
    for k, t in enumerate(scheduler.timesteps):
        with torch.no_grad():
            output = pipeline.unet(latents[k], t, encoder_hidden_states=embeddings).sample
        scored = ddim_step_with_logprob(scheduler, output, t, latents[k], eta=1.0, prev_sample=latents[k + 1])[1]
        assert torch.equal(scored, log_probs[k])


@pytest.mark.parametrize(("eta", "offset"), [(0.0, 1), (1.0, 0)])
def test_a_schedule_without_density_is_refused_before_the_first_step(
    pipeline: StableDiffusionPipeline, eta: float, offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        pytest.fail("sampling started")

    monkeypatch.setattr(
        pipeline, "scheduler", DDIMScheduler.from_config(pipeline.scheduler.config, steps_offset=offset)
    )
    monkeypatch.setattr(pipeline.unet, "forward", never)
    with pytest.raises(NoDensity):
        pipeline_with_logprob(pipeline, PROMPTS, num_inference_steps=STEPS, eta=eta)


def test_latents_can_be_returned_in_place_of_images(pipeline: StableDiffusionPipeline) -> None:
    last, latents, _ = pipeline_with_logprob(pipeline, PROMPTS, num_inference_steps=2, output_type="latent")
    assert last is latents[-1]
