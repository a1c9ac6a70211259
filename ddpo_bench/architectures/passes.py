"""One pass of a published network, with everything that it is given: text, pooled text, sizes, guidance, positions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ddpo_bench.architectures.packing import packed, positions, unpacked
from ddpo_bench.architectures.published import Architecture

EMBEDDED_GUIDANCE = 3.5  # the default of FLUX.1 [dev]


def random_conditioning(
    model: Architecture, samples: int, device: torch.device | str, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Random text embeddings of the size that the network is given: `embeddings` [B, L, D] and, where it has one,
    `pooled` [B, P].

    Args:
        model: the architecture.
        samples: B.
        device: where they are made.
        generator: of that device.
    """
    shapes: dict[str, tuple[int, ...]] = {"embeddings": (samples, model.tokens, model.text_width)}
    if model.pooled_width:
        shapes["pooled"] = (samples, model.pooled_width)
    return {name: torch.randn(shape, device=device, generator=generator) for name, shape in shapes.items()}


def output(
    model: Architecture, network: torch.nn.Module, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]
) -> Tensor:
    """The network's output, [B, C, H, W].

    Args:
        model: the architecture.
        network: made by `build`.
        x_t: [B, C, H, W].
        timesteps: [B], 0 to 1000.
        tensors: as `random_conditioning` makes them.
    """
    kind, text = model.network_config["_class_name"], tensors["embeddings"]
    if kind == "FluxTransformer2DModel":
        return flux(network, x_t, timesteps, tensors)
    if kind == "SD3Transformer2DModel":
        made: Tensor = network(x_t, text, tensors["pooled"], timesteps, return_dict=False)[0]
    else:
        added = {"text_embeds": tensors["pooled"], "time_ids": sizes(x_t)} if model.pooled_width else None
        made = network(x_t, timesteps, text, added_cond_kwargs=added, return_dict=False)[0]
    return made


def sizes(x_t: Tensor) -> Tensor:
    """SDXL's micro-conditioning [B, 6]: original size, corner of the crop and target size, in pixels."""
    height, width = (8 * side for side in x_t.shape[-2:])
    made = x_t.new_zeros(len(x_t), 6)  # filled on its device: a tensor of a list would wait for the host
    made[:, 0::4], made[:, 1::4] = height, width
    return made


def flux(network: torch.nn.Module, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    text = tensors["embeddings"]
    made = network(
        hidden_states=packed(x_t),
        encoder_hidden_states=text,
        pooled_projections=tensors["pooled"],
        timestep=timesteps.to(x_t.dtype) / 1000,
        img_ids=positions(x_t),
        txt_ids=x_t.new_zeros(text.shape[1], 3),
        guidance=x_t.new_full((len(x_t),), EMBEDDED_GUIDANCE),
        return_dict=False,
    )[0]
    return unpacked(made, x_t.shape)
