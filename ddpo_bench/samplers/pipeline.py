"""A StableDiffusionPipeline call that also returns the trajectory and its log-probs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from ddpo_kernels import guided
from torch import Tensor

from ddpo_bench.samplers.ddim_schedule import ddim_coefficients
from ddpo_bench.samplers.ddim_step import ddim_step_with_logprob
from ddpo_bench.samplers.noise_schedule import noise_schedule

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


@torch.no_grad()
def pipeline_with_logprob(
    pipeline: StableDiffusionPipeline,
    prompt: str | list[str] | None = None,
    prompt_embeds: Tensor | None = None,
    negative_prompt: str | list[str] | None = None,
    negative_prompt_embeds: Tensor | None = None,
    height: int | None = None,
    width: int | None = None,
    num_inference_steps: int = 50,
    guidance_scale: float = 7.5,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
    latents: Tensor | None = None,
    output_type: str = "pt",
) -> tuple[Tensor | list, list[Tensor], list[Tensor]]:
    """Sample images with DDIM, keeping every latent and log-prob (Black et al. 2024).

    Args:
        prompt, prompt_embeds: one of the two; embeddings [B, L, D].
        height, width: pixels; the model's own size where not given.
        latents: [B, C, h, w], initial noise; drawn from the generator where not given.
        output_type: "pt" for a tensor [B, 3, H, W] in [0, 1], "pil", "np", or "latent".
    Returns:
        images, latents (num_inference_steps + 1 tensors [B, C, h, w], x_T first), log_probs (num_inference_steps
        tensors [B], mean units).
    Raises:
        NoDensity: for eta = 0 or a schedule with a step of standard deviation 0.
        UnusableSchedule: for eta above 1, or a scheduler of another process.
    """
    device = pipeline._execution_device
    guide = guidance_scale > 1.0
    embeddings, unconditional = pipeline.encode_prompt(
        prompt,
        device,
        1,
        guide,
        negative_prompt,
        prompt_embeds=prompt_embeds,
        negative_prompt_embeds=negative_prompt_embeds,
    )
    if guide:
        embeddings = torch.cat([unconditional, embeddings])
    config = {**pipeline.scheduler.config, "_class_name": type(pipeline.scheduler).__name__}
    schedule = noise_schedule(config, num_inference_steps)
    ddim_coefficients(schedule, schedule.timesteps, eta)  # raises before sampling what a late step would raise
    own_height, own_width = (side * pipeline.vae_scale_factor for side in sides(pipeline.unet.config.sample_size))
    batch = len(embeddings) // (1 + guide)
    x_t = pipeline.prepare_latents(
        batch,
        pipeline.unet.config.in_channels,
        height or own_height,
        width or own_width,
        embeddings.dtype,
        device,
        generator,
        latents,
    )
    trajectory, log_probs = [x_t], []
    for t in schedule.timesteps.to(device):
        model_output = pipeline.unet(torch.cat([x_t] * (1 + guide)), t, encoder_hidden_states=embeddings).sample
        x_t, log_prob = ddim_step_with_logprob(
            schedule, guided(model_output, batch, guidance_scale), t, x_t, eta=eta, generator=generator
        )
        trajectory.append(x_t)
        log_probs.append(log_prob)
    if output_type == "latent":
        return x_t, trajectory, log_probs
    images = pipeline.vae.decode(x_t / pipeline.vae.config.scaling_factor).sample
    return pipeline.image_processor.postprocess(images, output_type=output_type), trajectory, log_probs


def sides(sample_size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of a UNet's latents, which its configuration gives as one number where they are equal."""
    if isinstance(sample_size, int):
        return sample_size, sample_size
    height, width = sample_size
    return height, width
