"""The recipe of the embedded model: autoencoder, denoiser, verifier, the folder to ship, and measurements of quality.

`ddpo-bench embedded train` runs it; every stage resumes from its last checkpoint in the work folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpo_bench.embedded.autoencoder import reconstruction_psnr, scene_batch, train_autoencoder
from ddpo_bench.embedded.denoiser import Denoiser, build_scheduler, cache_latents, load_latents, train_denoiser
from ddpo_bench.embedded.scenes import Scene, caption, sample_scene
from ddpo_bench.embedded.tokenizer import build_tokenizer
from ddpo_bench.embedded.verifier import Verifier
from ddpo_bench.embedded.verifier_training import accuracy, train_verifier
from ddpo_bench.files import refuse_unwritable

STEPS, GUIDANCE = 20, 3.0  # of the pictures on which quality is measured


def train(work: Path) -> None:
    """Run all stages, data parallel over the CPU cores, and save the model in `work/model`."""
    ranks = max(1, os.cpu_count() or 1)
    work.mkdir(parents=True, exist_ok=True)
    for stage in (autoencoder_stage, denoiser_stage, verifier_stage):
        in_parallel(stage, work, ranks)
    assemble(work)
    evaluate(work / "model", samples=512)


def in_parallel(stage: Callable[[Path], object], work: Path, ranks: int) -> None:
    """Run a stage in `ranks` processes of one thread each, which average their gradients."""
    meeting = work / f"{stage.__name__}.rendezvous"
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.spawn(one_rank, (stage, work, ranks, meeting), nprocs=ranks)
    meeting.unlink(missing_ok=True)


def one_rank(rank: int, stage: Callable[[Path], object], work: Path, ranks: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=ranks)
    stage(work)
    dist.barrier()
    dist.destroy_process_group()


def autoencoder_stage(work: Path) -> AutoencoderKL:
    return train_autoencoder(work)


def denoiser_stage(work: Path) -> tuple[Denoiser, float]:
    autoencoder = train_autoencoder(work)  # finished: loaded from its checkpoint
    cache_latents(autoencoder, work / "latents")
    dist.barrier()
    tokenizer = build_tokenizer()
    data = load_latents(work / "latents", tokenizer)
    return train_denoiser(data, tokenizer, work), data.scaling_factor


def verifier_stage(work: Path) -> Verifier:
    data = load_latents(work / "latents", build_tokenizer())
    return train_verifier(train_autoencoder(work), data, work)


def assemble(work: Path) -> None:
    """Write the StableDiffusionPipeline folder in fp16, with the verifier in a subfolder."""
    tokenizer = build_tokenizer()
    data = load_latents(work / "latents", tokenizer)
    autoencoder = train_autoencoder(work)
    autoencoder.register_to_config(scaling_factor=round(data.scaling_factor, 5))
    denoiser = train_denoiser(data, tokenizer, work)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = work / "model"
    pipeline.to(torch.float16).save_pretrained(folder)
    (folder / "verifier").mkdir(exist_ok=True)
    verifier = train_verifier(autoencoder, data, work)
    weights = {name: value.half().contiguous() for name, value in verifier.state_dict().items()}
    save_file(weights, folder / "verifier" / "verifier.safetensors")


def evaluate(model: Path, samples: int) -> dict[str, float]:
    """Measure reconstruction, and what the verifier sees in generated pictures; print it and write `quality.json`.

    Args:
        model: the folder of the pipeline.
        samples: number of pictures to generate, with 20 steps and guidance 3, each from a random caption.
    """
    refuse_unwritable(model / "quality.json")
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    verifier = Verifier()
    weights = load_file(model / "verifier" / "verifier.safetensors")
    verifier.load_state_dict({name: value.float() for name, value in weights.items()})
    verifier.eval()
    scenes, rendered = scene_batch((99, 0), samples)
    decoded = pipeline.vae.decode(pipeline.vae.encode(rendered).latent_dist.mode()).sample
    quality = {"psnr_db": reconstruction_psnr(pipeline.vae)}
    quality |= {f"verifier_on_rendered/{k}": v for k, v in accuracy(verifier, rendered / 2 + 0.5, scenes).items()}
    quality |= {
        f"verifier_on_decoded/{k}": v for k, v in accuracy(verifier, (decoded / 2 + 0.5).clamp(0, 1), scenes).items()
    }
    rng = np.random.default_rng(7)
    asked = [sample_scene(rng) for _ in range(samples)]
    quality |= {f"generated/{k}": v for k, v in accuracy(verifier, generate(pipeline, asked), asked).items()}
    quality = {name: round(value, 4) for name, value in quality.items()}
    for name, value in quality.items():
        print(f"{name:32} {value:.4f}")
    (model / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    return quality


def generate(pipeline: StableDiffusionPipeline, scenes: list[Scene]) -> Tensor:
    """Pictures generated from the full captions of scenes, [N, 3, 64, 64] in [0, 1]."""
    generator = torch.Generator().manual_seed(7)
    prompts = [caption(scene) for scene in scenes]
    parts = [
        pipeline(
            prompts[start : start + 64],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generator,
            output_type="pt",
        ).images
        for start in range(0, len(prompts), 64)
    ]
    return torch.cat(parts)
