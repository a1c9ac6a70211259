"""Tensors of which each process holds a shard (FSDP2), as the whole tensors that a checkpoint holds.

Tensors that are not sharded pass through as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddpo_bench import processes


def is_sharded(tensor: Tensor) -> bool:
    if processes.count() == 1:
        return False  # without the import, which takes long
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process; all of them must ask."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def for_checkpoint(tensor: Tensor) -> Tensor:
    """All of a tensor in host memory, on the process that writes checkpoints; all processes must ask.

    Returns:
        On the other processes a tensor of its shape without values, on the meta device.
    """
    if not is_sharded(tensor):
        return tensor
    gathered = whole(tensor.to(tensor.device_mesh.device_type))  # type: ignore[attr-defined]
    return gathered.to("cpu" if processes.rank() == 0 else "meta")


def placed_like(full: Tensor, tensor: Tensor) -> Tensor:
    """This process's shard of a whole tensor that every process has; nothing is sent.

    Args:
        full: of the shape of `tensor`.
        tensor: one that may be sharded, in the same way.
    """
    if not is_sharded(tensor):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full, tensor.device_mesh, tensor.placements, src_data_rank=None)  # type: ignore[attr-defined]


@torch.no_grad()
def copy_whole(full: Tensor, tensor: Tensor) -> None:
    """Give a tensor that may be sharded the values of a whole one."""
    tensor.copy_(placed_like(full, tensor))
