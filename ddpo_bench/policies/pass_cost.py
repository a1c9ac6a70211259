"""What a pass of a denoising network costs, counted from configurations: no weights are loaded, nothing is computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.architectures.build import default_dtype, make
from ddpo_bench.architectures.flops import count
from ddpo_bench.protocols import PassCost

Output = Callable[[Any, Tensor, Tensor, Mapping[str, Tensor]], Tensor]  # network, x_t, timesteps, conditioning
Config = Mapping[str, Any]
Decoded = Callable[[Any, Tensor], Tensor]  # VAE, latents
known: dict[str, PassCost] = {}  # by everything that it depends on: counting takes seconds


def pass_cost(
    network: Config, vae: Config, shapes: Mapping[str, tuple[int, ...]], output: Output, decoded: Decoded, **how: bool
) -> PassCost:
    """`counted`, once for the same network."""
    key = json.dumps([network, vae, shapes, how], sort_keys=True)
    if key not in known:
        known[key] = counted(network, vae, shapes, output, decoded, **how)
    return known[key]


def counted(
    network: Config,
    vae: Config,
    shapes: Mapping[str, tuple[int, ...]],
    output: Output,
    decoded: Decoded,
    whole: bool,
    half: bool,
    checkpointing: bool,
) -> PassCost:
    """One sample's pass, without guidance.

    Args:
        network, vae: configurations.
        shapes: of one sample's latents, as "x_t", and of its conditioning by name.
        output: calls the network.
        decoded: calls the VAE.
        whole: whether every weight is trained; else none is, and the gradient goes through the activations alone.
        half: whether the network computes in bf16.
        checkpointing: whether activations are computed again instead of kept.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), default_dtype(torch.bfloat16 if half else torch.float32):
        denoiser = make(network["_class_name"], dict(network)).requires_grad_(whole)
        decoder = make(vae["_class_name"], dict(vae)).requires_grad_(False)
        tensors = {name: torch.empty(1, *shape) for name, shape in shapes.items()}
        x_t, timesteps = tensors.pop("x_t").requires_grad_(not whole), torch.zeros(1, dtype=torch.long)

        def forward() -> Tensor:
            return output(denoiser, x_t, timesteps, tensors)

        flops = count(forward, list(denoiser.parameters()) if whole else [x_t])
        if checkpointing:
            denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
        activations = saved_bytes(forward, denoiser)
        latents = x_t.detach()
        decoding = count(lambda: decoded(decoder, latents), []).forward
    return PassCost(flops.forward, flops.backward, decoding, activations)


def saved_bytes(forward: Callable[[], Tensor], network: torch.nn.Module) -> int:
    """What autograd keeps for the backward pass, weights apart."""
    held = {weight.untyped_storage()._cdata for weight in network.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in held:
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = forward()  # holds what is kept, so that no storage is counted for another
    del made
    return sum(sizes.values())
