"""ImageReward's checkpoint under the names of transformers' BLIP: a vision transformer, and BERT that attends to it.

The checkpoint holds no configuration.  Widths and numbers of layers are those of its tensors; both networks have heads
of 64 numbers.  BLIP's vision transformer has layer norms with 1e-6, where transformers' default is 1e-5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

HEAD = 64
VISION, TEXT = "blip.visual_encoder.", "blip.text_encoder."
UNUSED = {"embeddings.position_ids"}  # a buffer
VISION_NAMES = {
    "cls_token": "embeddings.class_embedding", "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding", "norm": "post_layernorm",
    "norm1": "layer_norm1", "norm2": "layer_norm2", "attn.qkv": "self_attn.qkv", "attn.proj": "self_attn.projection",
}  # fmt: skip
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Network:
    """A part of the checkpoint: its class in transformers, the keys of its configuration and its weights there."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, Tensor]


def vision_network(tensors: Mapping[str, Tensor]) -> Network:
    own = {name.removeprefix(VISION): tensor for name, tensor in tensors.items() if name.startswith(VISION)}
    width, _, _, patch = own["patch_embed.proj.weight"].shape
    config = {
        "hidden_size": width,
        "intermediate_size": len(own["blocks.0.mlp.fc1.bias"]),
        "num_hidden_layers": count(own, "blocks"),
        "num_attention_heads": width // HEAD,
        "image_size": math.isqrt(own["pos_embed"].shape[1] - 1) * patch,
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }
    return Network("BlipVisionModel", config, {vision_name(name): tensor for name, tensor in own.items()})


def text_network(tensors: Mapping[str, Tensor]) -> Network:
    own = {name.removeprefix(TEXT): tensor for name, tensor in tensors.items() if name.startswith(TEXT)}
    words, width = own["embeddings.word_embeddings.weight"].shape
    config = {
        "vocab_size": words,
        "hidden_size": width,
        "encoder_hidden_size": own["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        "intermediate_size": len(own["encoder.layer.0.intermediate.dense.bias"]),
        "num_hidden_layers": count(own, "encoder.layer"),
        "num_attention_heads": width // HEAD,
        "max_position_embeddings": len(own["embeddings.position_embeddings.weight"]),
        "is_decoder": True,  # which gives it the attention to pictures
    }
    return Network("BlipTextModel", config, {name: own[name] for name in own if name not in UNUSED})


def vision_name(name: str) -> str:
    block = BLOCK.fullmatch(name)
    where, part = (f"encoder.layers.{block[1]}.", block[2]) if block else ("", name)
    if part in VISION_NAMES:
        return where + VISION_NAMES[part]
    module, _, kind = part.rpartition(".")
    return f"{where}{VISION_NAMES.get(module, module)}.{kind}"


def count(names: Mapping[str, Tensor], layers: str) -> int:
    return len({name.removeprefix(f"{layers}.").split(".")[0] for name in names if name.startswith(f"{layers}.")})
