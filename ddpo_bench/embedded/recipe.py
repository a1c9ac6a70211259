"""The recipe of the embedded models: autoencoder, denoiser, decoder, verifier, flow model, the folders, their quality.

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
from diffusers import AutoencoderKL, StableDiffusion3Pipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.embedded.autoencoder import reconstruction_psnr, scene_batch, train_autoencoder
from ddpo_bench.embedded.decoder import train_decoder
from ddpo_bench.embedded.denoiser import Denoiser, build_scheduler, cache_latents, load_latents, train_denoiser
from ddpo_bench.embedded.flow import FlowModel, flow_pipeline, train_flow
from ddpo_bench.embedded.portable import make_portable
from ddpo_bench.embedded.scenes import Scene, caption, sample_scene
from ddpo_bench.embedded.tokenizer import build_tokenizer
from ddpo_bench.embedded.verifier import FILE, Verifier
from ddpo_bench.embedded.verifier_training import accuracy, train_verifier
from ddpo_bench.files import refuse_unwritable

STEPS = 20  # of the pictures on which quality is measured
CALLS = {
    StableDiffusionPipeline: {"guidance_scale": 1.0},  # guidance is built in
    StableDiffusion3Pipeline: {"guidance_scale": 1.0, "max_sequence_length": 16},
}


def train(work: Path, device: str) -> None:
    """Run all stages, and save the models in `work/model` and `work/flow_model`.

    Args:
        work: the folder of data and checkpoints.
        device: cpu, for one process on each core, or cuda, for one process on one GPU.
    """
    work.mkdir(parents=True, exist_ok=True)
    for stage in (autoencoder_stage, denoiser_stage, decoder_stage, verifier_stage):
        run_stage(stage, work, device)
    assemble(work, torch.device(device))
    evaluate(work / "model", samples=512)
    train_flow_only(work, device)


def train_flow_only(work: Path, device: str) -> None:
    """Run the flow stage, and save the model in `work/flow_model`.

    Its teacher is the UNet in `work/model`, and the shipped one where there is none.
    """
    work.mkdir(parents=True, exist_ok=True)
    run_stage(flow_stage, work, device)
    model = flow_stage(work, torch.device(device))  # finished: loaded from its checkpoint
    flow_pipeline(model, teacher_of(work)).save_pretrained(work / "flow_model")
    make_portable(work / "flow_model")
    evaluate(work / "flow_model", samples=512)


def run_stage(stage: Callable[[Path, torch.device], object], work: Path, device: str) -> None:
    """Run a stage on a GPU, or on all cores."""
    if device == "cpu":
        in_parallel(stage, work, max(1, os.cpu_count() or 1))
    else:
        stage(work, torch.device(device))


def in_parallel(stage: Callable[[Path, torch.device], object], work: Path, ranks: int) -> None:
    """Run a stage on the CPU in `ranks` processes of one thread each, which average their gradients."""
    meeting = work / f"{stage.__name__}.rendezvous"
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.spawn(one_rank, (stage, work, ranks, meeting), nprocs=ranks)
    meeting.unlink(missing_ok=True)


def one_rank(rank: int, stage: Callable[[Path, torch.device], object], work: Path, ranks: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=ranks)
    stage(work, torch.device("cpu"))
    dist.barrier()
    dist.destroy_process_group()


def autoencoder_stage(work: Path, device: torch.device) -> AutoencoderKL:
    return train_autoencoder(work, device)


def denoiser_stage(work: Path, device: torch.device) -> tuple[Denoiser, float]:
    autoencoder = train_autoencoder(work, device)  # finished: loaded from its checkpoint
    cache_latents(autoencoder, work / "latents", device)
    if dist.is_initialized():
        dist.barrier()
    tokenizer = build_tokenizer()
    data = load_latents(work / "latents", tokenizer, device)
    return train_denoiser(data, tokenizer, work), data.scaling_factor


def decoder_stage(work: Path, device: torch.device) -> AutoencoderKL:
    denoiser, scaling_factor = denoiser_stage(work, device)  # finished, as the autoencoder is
    return train_decoder(train_autoencoder(work, device), denoiser, scaling_factor, work, device)


def verifier_stage(work: Path, device: torch.device) -> Verifier:
    data = load_latents(work / "latents", build_tokenizer(), device)
    return train_verifier(decoder_stage(work, device), data, work)


def flow_stage(work: Path, device: torch.device) -> FlowModel:
    return train_flow(teacher_of(work), work, device)


def teacher_of(work: Path) -> Path:
    return work / "model" if (work / "model").exists() else MODEL_FOLDER


def assemble(work: Path, device: torch.device) -> None:
    """Write the StableDiffusionPipeline folder in fp16, with the verifier in a subfolder; its stages are finished."""
    autoencoder = decoder_stage(work, device)
    denoiser, scaling_factor = denoiser_stage(work, device)
    autoencoder.register_to_config(scaling_factor=round(scaling_factor, 5))
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.text_encoder,
        tokenizer=build_tokenizer(),
        unet=denoiser.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = work / "model"
    pipeline.to(torch.float16).save_pretrained(folder)
    make_portable(folder)
    (folder / "verifier").mkdir(exist_ok=True)
    verifier = verifier_stage(work, device)
    weights = {name: value.half().contiguous() for name, value in verifier.state_dict().items()}
    save_file(weights, folder / "verifier" / "verifier.safetensors")


@torch.no_grad()
def evaluate(model: Path, samples: int) -> dict[str, float]:
    """Measure what the verifier sees in generated pictures, and in the UNet's folder also what stands next to the UNet:
    the autoencoder and the verifier; print it and write `quality.json`.

    Args:
        model: the folder of the pipeline.
        samples: number of pictures to generate, with 20 steps, each from a random caption.
    """
    refuse_unwritable(model / "quality.json")
    pipeline = load_pipeline(model)
    pipeline.set_progress_bar_config(disable=True)
    own = model / "verifier" / "verifier.safetensors"
    verifier = Verifier()
    weights = load_file(own if own.exists() else FILE)
    verifier.load_state_dict({name: value.float() for name, value in weights.items()})
    verifier.eval()
    quality = companions(pipeline.vae, verifier, samples) if own.exists() else {}
    rng = np.random.default_rng(7)
    asked = [sample_scene(rng) for _ in range(samples)]
    quality |= {f"generated/{k}": v for k, v in accuracy(verifier, generate(pipeline, asked), asked).items()}
    quality = {name: round(value, 4) for name, value in quality.items()}
    for name, value in quality.items():
        print(f"{name:32} {value:.4f}")
    (model / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    return quality


def load_pipeline(folder: Path) -> StableDiffusionPipeline | StableDiffusion3Pipeline:
    """Either model's pipeline, in fp32."""
    if (folder / "transformer").exists():  # its two T5 parts are null in the index, and diffusers asks for them
        return StableDiffusion3Pipeline.from_pretrained(
            folder, text_encoder_3=None, tokenizer_3=None, torch_dtype=torch.float32
        )
    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)


def companions(autoencoder: AutoencoderKL, verifier: Verifier, samples: int) -> dict[str, float]:
    """Reconstruction by the autoencoder, and accuracy of the verifier on rendered and reconstructed scenes."""
    scenes, rendered = scene_batch((99, 0), samples)
    decoded = autoencoder.decode(autoencoder.encode(rendered).latent_dist.mode()).sample
    seen = {"rendered": rendered / 2 + 0.5, "decoded": (decoded / 2 + 0.5).clamp(0, 1)}
    return {"psnr_db": reconstruction_psnr(autoencoder)} | {
        f"verifier_on_{name}/{head}": value
        for name, images in seen.items()
        for head, value in accuracy(verifier, images, scenes).items()
    }


def generate(pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline, scenes: list[Scene]) -> Tensor:
    """Pictures generated from the full captions of scenes, [N, 3, 64, 64] in [0, 1]."""
    generator = torch.Generator().manual_seed(7)
    prompts = [caption(scene) for scene in scenes]
    parts = [
        pipeline(
            prompts[start : start + 64],
            num_inference_steps=STEPS,
            generator=generator,
            output_type="pt",
            **CALLS[type(pipeline)],
        ).images
        for start in range(0, len(prompts), 64)
    ]
    return torch.cat(parts)
