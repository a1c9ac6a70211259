"""The flow stage of the recipe: a small MMDiT in Stable Diffusion 3's format, distilled from the embedded UNet.

It learns the velocity e - x_0 of x_t = (1 - s) x_0 + s e (Liu et al. 2023; Esser et al. 2024) on `flow_pairs`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ddpo_bench.embedded.fit import Schedule, autocast, fit
from ddpo_bench.embedded.flow_pairs import FlowPairs, cache_pairs, load_pairs

SCHEDULES = {"cpu": Schedule(steps=3400, batch=128), "cuda": Schedule(steps=8000, batch=1024)}
PAIRS = {"cpu": 145_000, "cuda": 1_000_000}
IMAGE_TOKENS = 16  # 8 x 8 latents in patches of 2 x 2
MOST_ZEROS = 256  # zero tokens that StableDiffusion3Pipeline puts in the place of T5's, by default


class FlowModel(nn.Module):
    """The two text encoders and the transformer; the first encoder is the embedded UNet's, and is not trained."""

    def __init__(self, text_encoder: CLIPTextModelWithProjection):
        super().__init__()
        self.text_encoder = text_encoder.requires_grad_(False)
        self.text_encoder_2 = build_second_encoder(text_encoder.config)
        self.transformer = build_transformer(text_encoder.config.hidden_size + self.text_encoder_2.config.hidden_size)

    def forward(self, noisy: Tensor, sigma: Tensor, tokens: Tensor, zeros: Tensor) -> Tensor:
        """Predict the velocity, [B, 8, 8, 8].

        Args:
            noisy: x_t, [B, 8, 8, 8].
            sigma: noise levels in (0, 1], [B].
            tokens: tokens of the captions, [B, L].
            zeros: how many of the pipeline's zero tokens the single one here stands for, [B].
        """
        first, second = (
            encoder(tokens, output_hidden_states=True) for encoder in (self.text_encoder, self.text_encoder_2)
        )
        text = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        text = nn.functional.pad(text, (0, 0, 0, 1))
        mask = nn.functional.pad(zeros.log().view(-1, 1, 1, 1), (IMAGE_TOKENS + text.shape[1] - 1, 0))
        return self.transformer(
            hidden_states=noisy,
            timestep=sigma * 1000,
            encoder_hidden_states=text,
            pooled_projections=torch.cat([first.text_embeds, second.text_embeds], dim=-1),
            joint_attention_kwargs={"attention_mask": mask},
        ).sample


class MaskedJointAttention:
    """SD3's joint attention with an additive mask, which diffusers' own processor has not.

    The mask lets one zero token stand for many: equal tokens stay equal through all layers, so that one of them, with
    the logarithm of their number added to its logit, does the work of all.
    """

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        def heads(layer: nn.Module, tokens: Tensor) -> Tensor:
            return layer(tokens).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # [B, heads, L, D]

        image, text = hidden_states, encoder_hidden_states
        q = torch.cat([attn.norm_q(heads(attn.to_q, image)), attn.norm_added_q(heads(attn.add_q_proj, text))], dim=2)
        k = torch.cat([attn.norm_k(heads(attn.to_k, image)), attn.norm_added_k(heads(attn.add_k_proj, text))], dim=2)
        v = torch.cat([heads(attn.to_v, image), heads(attn.add_v_proj, text)], dim=2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        image, text = mixed.transpose(1, 2).flatten(2).split([image.shape[1], text.shape[1]], dim=1)
        return attn.to_out[0](image), text if attn.context_pre_only else attn.to_add_out(text)


def build_second_encoder(first: CLIPTextConfig) -> CLIPTextModelWithProjection:
    """The pipeline's second text encoder, as small as it may be: its penultimate layer are the embeddings."""
    shared = ("vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=1,
            projection_dim=32,
            **{name: getattr(first, name) for name in shared},
        )
    )
    encoder.set_attn_implementation("eager")
    return encoder


def build_transformer(text_width: int, width: int = 160, layers: int = 4) -> SD3Transformer2DModel:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=layers,
        attention_head_dim=32,
        num_attention_heads=width // 32,
        joint_attention_dim=text_width,
        caption_projection_dim=width,
        pooled_projection_dim=text_width,
        pos_embed_max_size=4,
        qk_norm="rms_norm",
    )
    for name, layer in transformer.named_modules():
        if name.endswith(("norm1.linear", "norm1_context.linear", "norm_out.linear", "proj_out")):
            nn.init.zeros_(layer.weight)  # blocks start as identities (Peebles & Xie 2023)
            nn.init.zeros_(layer.bias)
    transformer.set_attn_processor(MaskedJointAttention())
    return transformer


class FlowLoss:
    """Mean squared error of the velocity, on batches of cached pairs."""

    def __init__(self, pairs: FlowPairs):
        self.pairs = pairs

    def batch(self, seed: tuple[int, int], size: int) -> tuple[Tensor, Tensor]:
        """Places of pairs, and for how many zero tokens one stands."""
        rng = np.random.default_rng((7, *seed))
        index = torch.from_numpy(rng.integers(len(self.pairs.sigma), size=size))
        return index, torch.from_numpy(MOST_ZEROS ** rng.random(size, np.float32))

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], seed: tuple[int, int]) -> Tensor:
        index, zeros = (part.to(self.pairs.sigma.device) for part in batch)
        noisy, sigma, target, tokens = self.pairs.at(index)
        with autocast(noisy.device):
            velocity = model(noisy, sigma, tokens, zeros).float()
        return (velocity - target).square().mean()


def train_flow(teacher: Path, work: Path, device: torch.device) -> FlowModel:
    """Cache the pairs, train on them, and return the exponential moving average of the model, on the CPU.

    Args:
        teacher: the folder of the embedded UNet's pipeline.
        work: the folder of pairs and checkpoints.
        device: where teacher and model run.
    """
    count = PAIRS[device.type]
    cache_pairs(teacher, work / "flow-pairs", count, device)
    if dist.is_initialized():
        dist.barrier()
    model = build_flow_model(teacher).to(device)
    loss = FlowLoss(load_pairs(work / "flow-pairs", count, device))
    trained = fit("flow", model, loss, SCHEDULES[device.type], work).to("cpu")
    assert isinstance(trained, FlowModel)
    return trained


def build_flow_model(teacher: Path) -> FlowModel:
    """A model from seed 0, whose first text encoder is the teacher's."""
    torch.manual_seed(0)
    given = CLIPTextModel.from_pretrained(teacher / "text_encoder", dtype=torch.float32)
    encoder = CLIPTextModelWithProjection(given.config)
    weights = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in given.state_dict().items()}
    encoder.load_state_dict({"text_projection.weight": torch.eye(given.config.hidden_size), **weights})
    encoder.set_attn_implementation("eager")
    return FlowModel(encoder)


def flow_pipeline(model: FlowModel, teacher: Path) -> StableDiffusion3Pipeline:
    """The pipeline of a trained model, in fp16, with tokenizer and autoencoder of its teacher."""
    tokenizer = CLIPTokenizer.from_pretrained(teacher / "tokenizer")
    model.transformer.set_attn_processor(JointAttnProcessor2_0())
    autoencoder = AutoencoderKL.from_pretrained(teacher / "vae")
    autoencoder.register_to_config(shift_factor=0.0)  # SD3's pipeline adds it
    pipeline = StableDiffusion3Pipeline(
        transformer=model.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        vae=autoencoder,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=model.text_encoder_2,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    return pipeline.to(torch.float16)
