"""Random tiny pipelines of diffusers' own classes, as it saves them: one builder for each family of policies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HEADS, WIDTH = 2, 16  # of every text encoder
POSITIONS = 16  # tokens that CLIP reads
TEMPLATE = (  # of Qwen-Image
    "Describe", " the", " image", " by", " detailing", " color", " shape", " size", " texture", " quantity", " text",
    " spatial", " relationships", " of", " objects", " and", " background",
)  # fmt: skip
QWEN = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
}


def clip(projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2 if projection else 1,
        num_attention_heads=HEADS,
        max_position_embeddings=POSITIONS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def clip_tokenizer() -> Any:
    from ddpo_bench.embedded.tokenizer import build_tokenizer

    return build_tokenizer()


def t5(folder: Path, width: int = WIDTH) -> tuple[Any, Any]:
    """A T5 encoder and its tokenizer, which has a piece for each letter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    made = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "T5TokenizerFast", "extra_ids": 0, "model_max_length": 512}
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | names))
    config = T5Config(vocab_size=len(pieces), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=HEADS)
    return T5EncoderModel(config), T5TokenizerFast.from_pretrained(folder)


def vae(channels: int, factor: int = 2, **options: Any) -> Any:
    """An AutoencoderKL with so many latent channels, and pixels to a latent."""
    from diffusers import AutoencoderKL

    blocks = factor.bit_length()
    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )


def stable_diffusion_3(folder: Path, with_t5: bool = True, **scheduler: Any) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=HEADS,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=4,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    encoder, tokenizer = t5(folder.parent / f"{folder.name}-t5", 2 * WIDTH) if with_t5 else (None, None)
    StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(**{"shift": 3.0} | scheduler),
        vae(4, scaling_factor=1.5305, shift_factor=0.0609),
        clip(projection=True),
        clip_tokenizer(),
        clip(projection=True),
        clip_tokenizer(),
        encoder,
        tokenizer,
    ).save_pretrained(folder)


def flux(folder: Path, distilled: bool = True, **scheduler: Any) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=distilled,
        axes_dims_rope=(4, 4, 8),
    )
    encoder, tokenizer = t5(folder.parent / f"{folder.name}-t5")
    dynamic = {"shift": 3.0, "use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64}
    FluxPipeline(
        FlowMatchEulerDiscreteScheduler(**dynamic | scheduler),
        vae(4, scaling_factor=0.3611, shift_factor=0.1159),
        clip(),
        clip_tokenizer(),
        encoder,
        tokenizer,
        transformer,
    ).save_pretrained(folder)


def aura_flow(folder: Path) -> None:
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler
    from transformers import UMT5Config, UMT5EncoderModel

    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pos_embed_max_size=64,
    )
    for weight in transformer.parameters():
        weight.data *= 2  # so that attention matters, which LoRA changes
    encoder, tokenizer = t5(folder.parent / f"{folder.name}-t5")
    config = UMT5Config(**encoder.config.to_dict() | {"model_type": "umt5"})
    AuraFlowPipeline(
        tokenizer, UMT5EncoderModel(config), vae(4), transformer, FlowMatchEulerDiscreteScheduler(shift=1.73)
    ).save_pretrained(folder)


def qwen_tokenizer(folder: Path) -> Any:
    """A tokenizer of bytes, in which each word of Qwen-Image's template is a token, as in the model's own."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2TokenizerFast

    letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(letters))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = Qwen2TokenizerFast.from_pretrained(folder, model_max_length=1024)
    tokenizer.add_tokens([*TEMPLATE, "system", "user", "assistant"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n"
    )
    return tokenizer


def qwen_image(folder: Path) -> None:
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = qwen_tokenizer(folder.parent / f"{folder.name}-tokenizer")
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 6, 6),
    )
    decoder = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[-0.7, 0.1, 0.3, -0.2],
        latents_std=[2.8, 1.4, 2.3, 1.2],
    )
    sections = {"rope_type": "default", "type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config=QWEN | {"vocab_size": len(tokenizer), "rope_scaling": sections},
        vision_config={
            "depth": 1,
            "hidden_size": WIDTH,
            "intermediate_size": 8,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
        },
    )
    dynamic = {"use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64, "max_shift": 0.9}
    QwenImagePipeline(
        FlowMatchEulerDiscreteScheduler(**dynamic, shift_terminal=0.02),
        decoder,
        Qwen2_5_VLForConditionalGeneration(config),
        tokenizer,
        transformer,
    ).save_pretrained(folder)


def z_image(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = qwen_tokenizer(folder.parent / f"{folder.name}-tokenizer")
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=WIDTH,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 2, 2],
        axes_lens=[128, 16, 16],
    )
    ZImagePipeline(
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae(4, scaling_factor=0.3611, shift_factor=0.1159),
        Qwen3Model(Qwen3Config(**QWEN, head_dim=8, vocab_size=len(tokenizer))),
        tokenizer,
        transformer,
    ).save_pretrained(folder)


def sdxl(folder: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + WIDTH,
        "cross_attention_dim": 2 * WIDTH,
    }
    StableDiffusionXLPipeline(
        vae(4, force_upcast=True),
        clip(),
        clip(projection=True),
        clip_tokenizer(),
        clip_tokenizer(),
        unet(**added),
        ddim(),
        add_watermarker=False,
    ).save_pretrained(folder)


def stable_diffusion(folder: Path) -> None:
    from diffusers import StableDiffusionPipeline

    network, decoder = unet(cross_attention_dim=WIDTH), vae(4)
    StableDiffusionPipeline(
        decoder, clip(), clip_tokenizer(), network, ddim(), None, None, requires_safety_checker=False
    ).save_pretrained(folder)


def unet(**options: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=2,
        norm_num_groups=8,
        **options,
    )


def ddim() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(DIFFUSION)


FAMILIES: dict[str, Callable[..., None]] = {
    "stable_diffusion": stable_diffusion,
    "sdxl": sdxl,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
    "qwen_image": qwen_image,
    "z_image": z_image,
    "aura_flow": aura_flow,  # made up in docs/policies.md
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
DIFFUSION = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,  # as in Stable Diffusion: the last step leads to timestep 0
}
SCHEDULES = {
    "sdxl": DIFFUSION,
    "stable_diffusion_3": FLOW,
    "flux": FLOW,
    "qwen_image": FLOW,
    "z_image": FLOW,
    "aura_flow": FLOW,
}  # by family, where a model must be given
QUICK: dict[str, dict[str, Any]] = {  # options with which a family is quick
    "aura_flow": {"max_sequence_length": 18},
    "stable_diffusion_3": {"max_sequence_length": 18},
    "flux": {"max_sequence_length": 18, "height": 16, "width": 16},
    "qwen_image": {"max_sequence_length": 24, "height": 16, "width": 16},
    "z_image": {"max_sequence_length": 48, "height": 16, "width": 16},
}


def build(family: str, folder: Path, **options: Any) -> Path:
    """Save a random pipeline of a family, the same at every call."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        FAMILIES[family](folder, **options)
    return folder
