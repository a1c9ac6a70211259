"""Floating-point operations of networks, counted on tensors that compute nothing.

A multiplication and an addition are two; what is not a matrix product or a convolution is not counted.  Attention
counts as its two matrix products, and what is recomputed in a backward pass is not counted, as is usual for model FLOP
utilisation (Chowdhery et al. 2022, PaLM, appendix B).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ddpo_bench.architectures.build import build
from ddpo_bench.architectures.passes import output, random_conditioning
from ddpo_bench.architectures.published import architecture


@dataclass(frozen=True)
class PassFlops:
    """Of a forward pass, and of the backward pass that follows it."""

    forward: int
    backward: int


def count(forward: Callable[[], Tensor], trained: list[Tensor]) -> PassFlops:
    """Count a pass of a network and the gradient of its output.

    Args:
        forward: the pass; its output is differentiated.
        trained: what it is differentiated in; empty for no backward pass.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(bool(trained)):
        with FlopCounterMode(display=False) as counted:
            made = forward()
        forwards = counted.get_total_flops()
        with FlopCounterMode(display=False) as counted:
            if trained:
                torch.autograd.grad(made, trained, torch.ones_like(made), allow_unused=True)
    return PassFlops(forwards, counted.get_total_flops())


@cache
def network_flops(name: str) -> PassFlops:
    """Of a named architecture's network for one sample without guidance, all of its weights trained."""
    model = architecture(name)
    network = build(model, model.network, "meta")
    x_t = torch.empty(1, *model.latent_shape, device="meta")
    tensors = random_conditioning(model, 1, "meta")
    timesteps = torch.zeros(1, device="meta")
    return count(lambda: output(model, network, x_t, timesteps, tensors), list(network.parameters()))


@cache
def decoding_flops(name: str) -> int:
    """Of the VAE's decoder for one image."""
    model = architecture(name)
    vae = build(model, "vae", "meta")
    latents = torch.empty(1, *model.latent_shape, device="meta")
    return count(lambda: vae.decode(latents, return_dict=False)[0], []).forward  # type: ignore[operator]
