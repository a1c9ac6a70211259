"""The precision of a network's arithmetic, and the attention that is quickest in it."""

from __future__ import annotations

from typing import Any

import torch


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the device computes it natively, else fp32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cpu":
        native = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and cpu_has_bf16()
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_attention(network: Any, device: torch.device, precision: torch.dtype) -> None:
    """Make attention plain matrix products where they are quicker than torch's fused one: in bf16 on a CPU alone.

    docs/performance.md has the figures.  Attention of another kind is left alone.
    """
    if device.type != "cpu" or precision is not torch.bfloat16:
        return
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    if all(type(processor) is AttnProcessor2_0 for processor in network.attn_processors.values()):
        network.set_attn_processor(AttnProcessor())
