"""Networks made of their configurations, with random weights or, on torch's meta device, without any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from ddpo_bench.architectures.published import Architecture, architecture


def make(name: str, config: dict[str, Any]) -> torch.nn.Module:
    """A network of diffusers or transformers, by its class."""
    import diffusers
    import transformers

    if hasattr(diffusers, name):
        network: torch.nn.Module = getattr(diffusers, name).from_config(config)
        return network
    kind = getattr(transformers, name)
    text: torch.nn.Module = kind(kind.config_class.from_dict(config))
    return text


def build(
    model: Architecture, part: str, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> torch.nn.Module:
    """One network of an architecture with random weights.

    Args:
        model: the architecture.
        part: which network, as the architecture's `parts` name it.
        device: where to make it; the meta device computes and allocates nothing.
        dtype: of the weights, which never exist in another one.
    """
    config = model.parts[part]
    with default_dtype(dtype), torch.device(device):
        network = make(config["_class_name"], config)
    return network.to(device)  # what the constructors make of NumPy arrays is on the CPU


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


@cache
def parameters(name: str, part: str) -> int:
    """How many parameters a part of a named architecture has, counted on the meta device."""
    return sum(weight.numel() for weight in build(architecture(name), part, "meta").parameters())
