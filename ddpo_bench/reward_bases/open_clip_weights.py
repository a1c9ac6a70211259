"""The weights of a CLIP of open_clip under the names of transformers' CLIPModel: the same network, other names.

open_clip's vision transformers and OpenAI's checkpoints name their parts alike.  Activations are not in the weights:
the configuration must say gelu or quick_gelu as the model was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
NORMS = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm"}
NORMS |= {"ln_final": "text_model.final_layer_norm"}
PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
PARTS = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip


def clip_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's weights by transformers' names; what has no counterpart keeps its name."""
    return {name: tensor for found in tensors for name, tensor in renamed(found, tensors[found])}


def renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if block := BLOCK.fullmatch(name):
        tower = "vision_model" if block[1] else "text_model"
        yield from in_block(f"{tower}.encoder.layers.{block[2]}", block[3], tensor)
    elif name in PROJECTIONS:  # multiplied from the other side
        yield PROJECTIONS[name], tensor.T.contiguous()
    else:
        module, _, kind = name.rpartition(".")
        yield NAMES.get(name) or (f"{NORMS[module]}.{kind}" if module in NORMS else name), tensor


def in_block(layer: str, part: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if part.startswith("attn.in_proj_"):  # the three projections in one
        for name, piece in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{layer}.self_attn.{name}_proj.{part.removeprefix('attn.in_proj_')}", piece
    else:
        module, _, kind = part.rpartition(".")
        yield f"{layer}.{PARTS.get(module, module)}.{kind}", tensor
