"""Latents in host memory, where a rollout goes that is large against a GPU's: written and read by the micro-batch."""

from __future__ import annotations

import torch
from torch import Tensor

LARGE = 0.25  # of a GPU's free memory


def is_large(size: int, device: torch.device) -> bool:
    """Whether so many bytes are a large part of what is free on a device; nothing is on a CPU, which is the host."""
    if device.type != "cuda":
        return False
    free = torch.cuda.mem_get_info(device)[0]
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size > LARGE * (free + cached)


def empty_like_first(first: Tensor, count: int, on_host: bool) -> Tensor:
    """Room for `count` samples like those of a micro-batch, on its device or in pinned memory of the host."""
    shape = (count, *first.shape[1:])
    if on_host and first.device.type == "cuda":
        return torch.empty(shape, dtype=first.dtype, pin_memory=True)
    return first.new_empty(shape)


def pick(stored: Tensor, samples: Tensor, steps: Tensor, device: torch.device) -> Tensor:
    """`stored[samples, steps]` on a device; the host does not wait for the transfer.

    Args:
        stored: [N, S, ...].
        samples, steps: [B].
    """
    picked = stored[samples.to(stored.device), steps.to(stored.device)]
    if picked.device != device and device.type == "cuda":
        picked = picked.pin_memory()
    return picked.to(device, non_blocking=True)
