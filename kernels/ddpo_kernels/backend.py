"""Which implementation runs: fused Triton kernels or the torch reference."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

import torch
from torch import Tensor

Backend = Literal["auto", "triton", "torch"]
FUSED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TRITON_INSTALLED = importlib.util.find_spec("triton") is not None
INTERPRETING = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on")  # kernels run on a CPU


class BackendUnavailable(RuntimeError):
    """Triton was asked for where it cannot run."""


def unavailable(device_type: str) -> str | None:
    """Why Triton cannot run on a kind of device, or None where it can."""
    if not TRITON_INSTALLED:
        return "triton is not installed"
    if device_type == "cuda" or (device_type == "cpu" and INTERPRETING):
        return None
    return f"its kernels run on CUDA and ROCm devices, not on {device_type}"


def check_backend(backend: str, device: torch.device) -> None:
    """Refuse a backend that cannot run, before any work.

    Raises:
        ValueError: for an unknown name.
        BackendUnavailable: for "triton" where it cannot run.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend: {backend!r} is not one of {', '.join(get_args(Backend))}.")
    if backend == "triton" and (reason := unavailable(device.type)):
        raise BackendUnavailable(f"backend: triton: {reason}; use auto or torch.")


def fused(backend: Backend, *tensors: Tensor | None) -> bool:
    """Whether the fused kernels run on these tensors; "auto" takes them where device and dtypes allow it.

    Raises:
        BackendUnavailable: for "triton" where it cannot run.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    check_backend(backend, given[0].device)
    odd = [tensor.dtype for tensor in given if tensor.is_floating_point() and tensor.dtype not in FUSED_DTYPES]
    if backend == "triton" and odd:
        raise BackendUnavailable(f"backend: triton: the kernels take fp32, bf16 and fp16, not {odd[0]}; use torch.")
    return backend != "torch" and not odd and unavailable(given[0].device.type) is None
