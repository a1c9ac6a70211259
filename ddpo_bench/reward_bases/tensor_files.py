"""Tensors by name from a file of weights: safetensors, or a pickle that holds nothing that could run code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor


def read_tensors(file: Path, wanted: Callable[[str], object] = bool) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a pickle (.pt, .pth), alone or under "state_dict".

    Args:
        wanted: whether the tensor of a name is read.
    Raises:
        ValueError: where a pickle holds more than tensors and plain values.
    """
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in list(opened.keys()) if wanted(name)}
    try:
        read = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # whose text tells how to run the code
        raise ValueError("it is no pickle of tensors alone, and others, which may run code, are never loaded") from None
    named = read.get("state_dict", read)
    return {name: tensor for name, tensor in named.items() if isinstance(tensor, Tensor) and wanted(name)}
