"""A faster backward pass of torch's fused attention on a CPU, for heads of a few channels.

The forward pass is torch's own, bit for bit.  Its backward pass multiplies [L, S] by [S, D] matrices block by block,
which is slow where D is small; docs/performance.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

WIDEST = 8  # channels of a head; at 16 the fused backward pass is faster
SCORES_AT_ONCE = 2**18  # 1 MB of attention scores stays in the cache


class NarrowAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(D)) v; q is [B, H, L, D], k and v are [B, H, S, D], float32."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return scaled_dot_product_attention(q, k, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        # The transposed matrices are contiguous, [D, S]: products with them are several times faster.
        q3, grad3 = (q * scale).flatten(0, 1), grad.flatten(0, 1)  # [B * H, L, D]
        k3, v3 = (x.transpose(2, 3).flatten(0, 1).contiguous() for x in (k, v))  # [B * H, D, S]
        dq, dk, dv = torch.empty_like(q3), torch.empty_like(k3), torch.empty_like(v3)
        heads = max(1, SCORES_AT_ONCE // (q.shape[2] * k.shape[2]))
        scratch = q.new_empty(2, heads, q.shape[2], k.shape[2])
        for parts in zip(*(x.split(heads) for x in (q3, k3, v3, grad3, dq, dk, dv)), strict=True):
            some_heads(*parts, *scratch[:, : len(parts[0])])
        return (
            (dq * scale).view_as(q),
            dk.unflatten(0, k.shape[:2]).transpose(2, 3),
            dv.unflatten(0, v.shape[:2]).transpose(2, 3),
        )


def some_heads(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, scores: Tensor, weights: Tensor
) -> None:
    """Write the gradients of a few heads into dq, dk and dv.

    Args:
        q, grad, dq: [N, L, D], q scaled by 1 / sqrt(D).
        k, v, dk, dv: [N, D, S].
        scores, weights: [N, L, S], overwritten.
    """
    torch.bmm(q, k, out=scores)
    torch.softmax(scores, -1, out=weights)
    torch.bmm(grad.transpose(1, 2), weights, out=dv)
    torch.bmm(grad, v, out=scores)
    torch._softmax_backward_data(scores, weights, -1, torch.float32, grad_input=scores)
    torch.bmm(scores, k.transpose(1, 2), out=dq)
    torch.bmm(q.transpose(1, 2), scores, out=dk)


class NarrowHeads(TorchFunctionMode):
    """Within this context, attention that is differentiated goes through `NarrowAttention` where it fits."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is scaled_dot_product_attention and fits(*args, **kwargs):
            return NarrowAttention.apply(*args[:3])
        return function(*args, **kwargs)


def fits(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **options: Any) -> bool:
    """Whether attention is plain, in float32 on a CPU, and its heads are narrow."""
    plain = attn_mask is None and not any(options.values())
    return plain and q.device.type == "cpu" and q.dtype is torch.float32 and q.shape[-1] == v.shape[-1] <= WIDEST


def has_narrow_heads(network: torch.nn.Module) -> bool:
    from diffusers.models.attention_processor import Attention

    layers = (module for module in network.modules() if isinstance(module, Attention))
    return any(layer.inner_dim // layer.heads <= WIDEST for layer in layers)


class NarrowAttnProcessor:
    """Attention as another processor computes it; outside compiled code, `NarrowAttention` differentiates what fits.

    Args:
        processor: calls torch's fused attention.
    """

    def __init__(self, processor: Callable[..., Any]):
        self.processor = processor

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self.processor(*args, **kwargs)
        with NarrowHeads():
            return self.processor(*args, **kwargs)
