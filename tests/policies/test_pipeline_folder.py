"""Model folders as people have them: each is used, or refused as what it is before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddpo_bench.noise import Noise
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.loading import ModelNotFound
from ddpo_bench.policies.stable_diffusion import StableDiffusion
from ddpo_bench.policies.stored_weights import weights_name
from ddpo_bench.samplers.ddim import DDIM
from ddpo_bench.training.sampling import decode_in_batches, final_latents, sample_batches

CPU = torch.device("cpu")


def mistakes_of(model: Path | str) -> list[str]:
    return StableDiffusion(str(model)).mistakes()


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def index(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_index.json", **changes)


def unet(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "unet" / "config.json", **changes)


def as_pickle(folder: Path) -> None:
    """As `save_pretrained(safe_serialization=False)` leaves it; what is in the file is never looked at."""
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def without_index(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name in names:
            (folder / name).write_text('{"_class_name": "ControlNetModel"}')

    return change


OTHER = "and this policy trains only a StableDiffusionPipeline"
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "sdxl": (
        index(_class_name="StableDiffusionXLPipeline"),
        "StableDiffusionXLPipeline, which another policy trains. Write name: sdxl",
    ),
    "inpainting": (index(_class_name="StableDiffusionInpaintPipeline"), f"an inpainting pipeline, {OTHER}"),
    "image to image": (index(_class_name="StableDiffusionImg2ImgPipeline"), f"an image-to-image pipeline, {OTHER}"),
    "controlnet": (index(_class_name="StableDiffusionControlNetPipeline"), f"a ControlNet pipeline, {OTHER}"),
    "sd3": (index(_class_name="StableDiffusion3Pipeline"), "Write name: stable_diffusion_3."),
    "flux": (index(_class_name="FluxPipeline"), "Write name: flux."),
    "lora": (without_index("pytorch_lora_weights.safetensors"), "holds LoRA weights alone"),
    "one part": (without_index("config.json"), "holds a ControlNetModel alone"),
    "one file": (without_index("v1-5-pruned.safetensors"), "from_single_file"),
    "other unet": (index(unet=["diffusers", "UNet3DConditionModel"]), "unet is UNet3DConditionModel, not UNet2DCond"),
    "no text": (index(text_encoder=[None, None]), "text_encoder is missing, not CLIPTextModel"),
    "no vae": (index(vae=None), "vae is missing, not AutoencoderKL"),
    "inpainting unet": (unet(in_channels=9), "in_channels: 9, but latents have 4: an inpainting model"),
    "instruct-pix2pix": (unet(in_channels=8), "in_channels: 8, but latents have 4: an image-to-image model"),
    "variance": (unet(out_channels=8), "out_channels: 8, but latents have 4"),
    "class-conditional": (unet(num_class_embeds=10), "num_class_embeds: 10: this UNet needs more than a prompt"),
    "lcm": (unet(time_cond_proj_dim=256), "time_cond_proj_dim: 256: this UNet needs more than a prompt"),
    "other text width": (
        unet(cross_attention_dim=32),
        "cross_attention_dim: 32, but the text encoder's hidden_size is",
    ),
    "no sample size": (unet(sample_size=None), "unet/config.json: sample_size: None: write the latents' side there"),
    "bad sample size": (unet(sample_size=[8, 8, 8]), "sample_size: [8, 8, 8]: write"),
    "no unet config": (lambda f: (f / "unet" / "config.json").unlink(), "lacks unet/config.json. Save the whole"),
    "torn unet config": (lambda f: (f / "unet" / "config.json").write_text("{"), "cannot be read as JSON"),
    "list for an index": (lambda f: (f / "model_index.json").write_text("[]"), "holds no mapping"),
    "no scheduler": (index(scheduler=None), "scheduler is missing"),
    "dropout": (unet(dropout=0.1), "dropout: 0.1: learning would score other steps than were sampled"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "lacks tokenizer/tokenizer.json"),
    "pickles": (as_pickle, "diffusion_pytorch_model.bin is a pickle, which may run code, and is never loaded."),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_folder_that_cannot_be_trained_is_refused_as_what_it_is_before_and_at_start(folder: Path, kind: str) -> None:
    change, mistake = REFUSED[kind]
    change(folder)
    (found,) = mistakes_of(str(folder))
    assert mistake in found
    assert "\n" not in found
    assert str(folder) in found
    with pytest.raises(ModelNotFound) as raised:
        StableDiffusion(str(folder)).start(CPU, seed=0)
    assert str(raised.value) == found


@pytest.mark.parametrize("name", ["PNDMScheduler", "EulerDiscreteScheduler", "DDIMScheduler"])
def test_the_schedule_is_that_of_the_folder_as_diffusers_own_pipeline_reads_it(folder: Path, name: str) -> None:
    """It counts timesteps from 1 and never clips, and so does the schedule that is known before the start."""
    import diffusers

    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "skip_prk_steps": True}
    kind = getattr(diffusers, name)
    scheduler = kind.from_config({**config, "timestep_spacing": "leading", "steps_offset": 0})
    scheduler.save_pretrained(folder / "scheduler")
    edit(folder / "model_index.json", scheduler=["diffusers", name])
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipeline.scheduler.set_timesteps(5)
    policy = StableDiffusion(str(folder))
    stored = policy.stored_scheduler_config()
    policy.start(CPU, seed=0)
    assert policy.scheduler_config == stored
    assert stored is not None
    schedule, _ = DDIM(steps=5).described(stored)
    assert schedule.timesteps.tolist() == pipeline.scheduler.timesteps.unique().flip(0).tolist()
    assert torch.equal(schedule.alphas_cumprod, pipeline.scheduler.alphas_cumprod)
    assert schedule.clip is None


def test_a_file_in_place_of_a_folder_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "v1-5.safetensors").write_bytes(b"")
    (mistake,) = mistakes_of(str(tmp_path / "v1-5.safetensors"))
    assert "v1-5.safetensors is a file. Make a folder of it: StableDiffusionPipeline.from_single_file" in mistake


@pytest.mark.parametrize("size", [[8, 12], [4, 6]])
def test_latents_that_are_not_square_are_used(folder: Path, size: list[int]) -> None:
    edit(folder / "unet" / "config.json", sample_size=size)
    assert mistakes_of(str(folder)) == []
    policy, sampler = StableDiffusion(str(folder)), DDIM(steps=2)
    policy.start(CPU, seed=0)
    sampler.start(policy.scheduler_config, CPU)
    assert policy.latent_shape == (4, *size)
    x_0 = final_latents(sample_batches(policy, sampler, policy.encode(["a dog"]), 1, Noise(0, 1, "rollout")), 1)
    assert decode_in_batches(policy, x_0, 1).shape == (1, 3, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize("parts", [["unet", "vae", "text_encoder"], ["unet"]])
def test_weights_of_a_variant_alone_are_used(folder: Path, parts: list[str]) -> None:
    for part in parts:
        path = folder / part / f"{weights_name(part)}.safetensors"
        half = {name: weight.half() for name, weight in load_file(path).items()}
        path.unlink()
        save_file(half, path.with_name(f"{weights_name(part)}.fp16.safetensors"), metadata={"format": "pt"})
    assert mistakes_of(str(folder)) == []
    policy = StableDiffusion(str(folder))
    policy.start(CPU, seed=0)
    assert all(weight.dtype == torch.float32 for weight in policy.pipeline.text_encoder.parameters())
    stored = next(iter(half.items()))
    assert torch.equal(getattr(policy.pipeline, parts[-1]).state_dict()[stored[0]], stored[1].float())


@pytest.mark.parametrize("written", ["./model", "model/", "~/model", "../here/model"])
def test_every_way_to_write_a_path_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    here = folder.parent / "here"
    here.mkdir()
    folder.rename(here / "model")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", os.fspath(here))
    assert mistakes_of(written) == []
    StableDiffusion(written, Adapter("lora")).start(CPU, seed=0)


@pytest.mark.parametrize(("part", "value"), [("unet", float("nan")), ("vae", float("inf"))])
def test_weights_that_are_not_finite_are_named_when_they_are_loaded(folder: Path, part: str, value: float) -> None:
    path = folder / part / f"{weights_name(part)}.safetensors"
    weights = load_file(path)
    name = sorted(weights)[3]
    weights[name].view(-1)[0] = value
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelNotFound, match=f"1 of {part}'s weights are NaN or infinite, {name} first"):
        StableDiffusion(str(folder)).start(CPU, seed=0)
