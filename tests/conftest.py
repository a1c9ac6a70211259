"""A random tiny Stable Diffusion folder, as diffusers saves it, so that nothing depends on the embedded model."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import torch
from every_plugin import register_made_up_plugins

register_made_up_plugins()  # before any test module asks which there are
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, in child processes too, which tests hang up on
signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell has it ignored in the background


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a list of prompts and a module with a reward function of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "example_reward", raising=False)
    (tmp_path / "example_reward.py").write_text("def brightness(i, p, m): return i.double().mean(dim=(1, 2, 3))\n")
    (tmp_path / "prompts.txt").write_text("a castle at night\na red bicycle\nthe sea\nrain\n")
    return tmp_path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from ddpo_bench.embedded.tokenizer import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    pipeline = StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipeline.save_pretrained(folder)
    return folder
