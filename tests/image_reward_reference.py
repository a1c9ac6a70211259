"""ImageReward as its authors build it, BLIP's vision transformer and BERT with their names, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 64


def attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Of [N, L, D], in heads; mask [N, L] is 1 at what is attended to."""
    heads = [part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in (query, key, value)]
    allowed = None if mask is None else mask[:, None, None].bool()
    return F.scaled_dot_product_attention(*heads, attn_mask=allowed).transpose(1, 2).flatten(2)


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn["proj"](attended(*self.attn["qkv"](self.norm1(x)).chunk(3, dim=-1)))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Vision(nn.Module):
    def __init__(self, side: int, patch: int, width: int, layers: int):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList([Block(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Attention(nn.Module):
    def __init__(self, width: int, read: int):
        super().__init__()
        widths = {"query": width, "key": read, "value": read}
        self.self = nn.ModuleDict({name: nn.Linear(size, width) for name, size in widths.items()})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})

    def forward(self, x: Tensor, read: Tensor, mask: Tensor | None) -> Tensor:
        found = attended(self.self["query"](x), self.self["key"](read), self.self["value"](read), mask)
        return self.output["LayerNorm"](self.output["dense"](found) + x)


class Layer(nn.Module):
    def __init__(self, width: int, seen: int):
        super().__init__()
        self.attention, self.crossattention = Attention(width, width), Attention(width, seen)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 2 * width)})
        self.output = nn.ModuleDict({"dense": nn.Linear(2 * width, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})

    def forward(self, x: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
        x = self.crossattention(self.attention(x, x, mask), seen, None)
        return self.output["LayerNorm"](self.output["dense"](F.gelu(self.intermediate["dense"](x))) + x)


class Text(nn.Module):
    def __init__(self, words: int, positions: int, width: int, seen: int, layers: int):
        super().__init__()
        tables = {"word_embeddings": nn.Embedding(words, width), "position_embeddings": nn.Embedding(positions, width)}
        self.embeddings = nn.ModuleDict({**tables, "LayerNorm": nn.LayerNorm(width, eps=1e-12)})
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer(width, seen) for _ in range(layers)])})

    def forward(self, ids: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
        tables = self.embeddings
        places = tables["position_embeddings"].weight[: ids.shape[1]]
        x = tables["LayerNorm"](tables["word_embeddings"](ids) + places)
        for layer in self.encoder["layer"]:
            x = layer(x, mask, seen)
        return x


class ImageRewardReference(nn.Module):
    """Random, with inputs so small that the epsilon of a layer norm counts."""

    def __init__(self, side: int, patch: int, words: int, vision_width: int = 192, text_width: int = 128):
        super().__init__()
        vision, text = Vision(side, patch, vision_width, 2), Text(words, 40, text_width, vision_width, 2)
        unused = {"vision_proj": nn.Linear(vision_width, 8), "text_proj": nn.Linear(text_width, 8)}
        self.blip = nn.ModuleDict({"visual_encoder": vision, "text_encoder": text, **unused})
        sizes, drop = [text_width, 10, 8, 6, 4], nn.Dropout(0.2)
        linear = [nn.Linear(read, made) for read, made in zip(sizes, [*sizes[1:], 1], strict=True)]
        self.mlp = nn.ModuleDict(
            {"layers": nn.Sequential(linear[0], drop, linear[1], drop, linear[2], drop, linear[3], linear[4])}
        )
        for name, weights in self.named_parameters():
            if "norm" in name.lower():
                nn.init.normal_(weights, mean=1.0, std=0.3)
            if "visual_encoder.patch_embed" in name or "cls_token" in name or "pos_embed" in name:
                nn.init.normal_(weights, std=0.003)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        seen = self.blip["visual_encoder"](pixels)
        features = self.blip["text_encoder"](ids, mask, seen)[:, 0]
        return (self.mlp["layers"](features)[:, 0] - 0.16717362830052426) / 1.0333394966054072
