"""The precision of a network's arithmetic, and the attention and memory layout that are quickest in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
    """Replace torch's fused attention on a CPU: by plain matrix products in bf16, and in fp32 where heads are narrow.

    docs/performance.md has the figures.  Attention of another kind is left alone.  On a GPU torch may choose any fused
    attention but cuDNN's, which builds another kernel where no gradient is needed: sampling would round differently
    from learning.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
    if device.type != "cpu":
        return
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    from ddpo_bench.policies.narrow_attention import NarrowAttnProcessor, has_narrow_heads

    processors = getattr(network, "attn_processors", {}).values()
    if processors and all(type(processor) is AttnProcessor2_0 for processor in processors):
        if precision is torch.bfloat16:
            network.set_attn_processor(AttnProcessor())
        elif has_narrow_heads(network):
            network.set_attn_processor(NarrowAttnProcessor(AttnProcessor2_0()))


def choose_layout(network: Any, device: torch.device, precision: torch.dtype) -> bool:
    """Store convolutions channels last where tensor cores compute them: in bf16 on a GPU.

    Returns:
        Whether outputs may be channels last.
    """
    is_chosen = device.type == "cuda" and precision is torch.bfloat16
    if is_chosen:
        network.to(memory_format=torch.channels_last)
    return is_chosen


def allow_tf32(allowed: bool) -> None:
    """Whether products of fp32 matrices, and convolutions, may round their factors to 10 bits of mantissa on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextlib.contextmanager
def tf32_where(allowed: bool) -> Iterator[None]:
    """Context in which TF32 is allowed, where `allowed`; elsewhere, and afterwards, it is as it was."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    if allowed:
        allow_tf32(True)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
