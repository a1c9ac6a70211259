"""A second family of diffusers pipelines takes one short class: SDXL, with two text encoders and added conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from ddpo_bench import registry
from ddpo_bench.config import run_config
from ddpo_bench.policies.diffusers_policy import UNCONDITIONAL, DiffusersPolicy
from ddpo_bench.policies.pipeline_folder import Layout
from ddpo_bench.policies.stable_diffusion import StableDiffusion
from ddpo_bench.policies.stored_pipeline import Adapter
from ddpo_bench.preflight import memory
from ddpo_bench.protocols import Conditioning
from ddpo_bench.run_folder.metrics import read_rows
from ddpo_bench.training.trainer import train

CPU = torch.device("cpu")


@dataclass
class StableDiffusionXL(DiffusersPolicy):
    """Stable Diffusion XL."""

    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusionXLPipeline",
        meant="Stable Diffusion XL, text to image",
        parts={
            "unet": ("UNet2DConditionModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
            "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
        },
    )

    def embed(self, prompt: str) -> Conditioning:
        texts, empty_texts, pooled, empty_pooled = self.pipeline.encode_prompt(
            prompt, device=self.device, do_classifier_free_guidance=self.guided
        )
        tensors = {"texts": texts, "pooled": pooled}
        if self.guided:
            tensors |= {f"{UNCONDITIONAL}texts": empty_texts, f"{UNCONDITIONAL}pooled": empty_pooled}
        return Conditioning(tensors, pooled.float())

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        height, width = (8 * side for side in x_t.shape[2:])
        sizes = x_t.new_tensor([height, width, 0, 0, height, width]).expand(len(x_t), -1)
        added = {"text_embeds": tensors["pooled"], "time_ids": sizes}
        return network(x_t, timesteps, encoder_hidden_states=tensors["texts"], added_cond_kwargs=added).sample

    def images(self, latents: Tensor) -> Tensor:
        images = self.pipeline.vae.decode(latents / self.pipeline.vae.config.scaling_factor).sample
        return (images.float() / 2 + 0.5).clamp(0, 1)


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random tiny SDXL folder, with parts of the tiny Stable Diffusion."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModelWithProjection

    parts = StableDiffusionPipeline.from_pretrained(tiny_model).components
    torch.manual_seed(0)
    config = {
        "cross_attention_dim": 32,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
    }
    pipeline = StableDiffusionXLPipeline(
        parts["vae"],
        parts["text_encoder"],
        CLIPTextModelWithProjection(parts["text_encoder"].config),
        parts["tokenizer"],
        parts["tokenizer"],
        UNet2DConditionModel.from_config({**parts["unet"].config, **config}),
        parts["scheduler"],
    )
    folder = tmp_path_factory.mktemp("models") / "sdxl"
    pipeline.save_pretrained(folder)
    return folder


def test_its_noise_predictions_are_those_of_diffusers_own_pipeline(model: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    policy = StableDiffusionXL(str(model), guidance_scale=3.0, precision="fp32")
    assert policy.mistakes() == policy.architecture_mistakes() == []
    policy.start(CPU, seed=0)
    x_t = torch.randn(1, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    pipeline, theirs, size = StableDiffusionXLPipeline.from_pretrained(model), [], (64, 64)
    pipeline.unet.register_forward_hook(lambda unet, given, output: theirs.append(output[0]))
    pipeline(
        "a dog", height=16, width=16, original_size=size, target_size=size, num_inference_steps=1,
        guidance_scale=3.0, output_type="latent", latents=x_t,
    )  # fmt: skip
    mine = policy.predict(x_t, pipeline.scheduler.timesteps[:1], policy.encode(["a dog"]))
    torch.testing.assert_close(mine.detach(), theirs[0])
    unconditional, conditional = theirs[0].chunk(2)
    assert not torch.equal(unconditional, conditional)


def test_it_trains_from_end_to_end_and_is_counted(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._known["policy"], "sdxl", StableDiffusionXL)
    adapter = {"name": "lora", "rank": 2}
    data = {
        "policy": {"name": "sdxl", "model": str(model), "adapter": adapter, "guidance_scale": 2.0, "precision": "fp32"},
        "sampler": {"name": "ddim", "steps": 2},
        "reward": "target_colour",
        "samples_per_epoch": 4,
        "micro_batch": 2,
        "epochs": 1,
        "evaluation": {"samples": 2},
    }
    config = run_config(data, "test")
    train(config, tmp_path / "run")
    (row,) = [row for row in read_rows(tmp_path / "run") if "queries" in row]
    assert row["ratio_deviation_max"] == 0
    assert row["grad_norm"] > 0
    need, policy = memory.needs(config), config.policy.build()
    policy.start(CPU, seed=0)
    assert need is not None
    assert need.trained == sum(weight.numel() for weight in policy.parameters())


def test_a_folder_of_another_family_is_refused_as_that(model: Path, tiny_model: Path) -> None:
    (mistake,) = StableDiffusionXL(str(tiny_model), Adapter("lora")).mistakes()
    assert "is a StableDiffusionPipeline, and only a StableDiffusionXLPipeline can be trained" in mistake
    (mistake,) = StableDiffusion(str(model)).mistakes()
    assert "is a StableDiffusionXLPipeline, and only a StableDiffusionPipeline can be trained" in mistake
