"""What code may change for the whole process, put back afterwards, so that a reward decides nothing but its scores."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch


def set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # a CPU that is set costs time in every call


SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, set_default_device),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (os.getcwd, os.chdir),
    (random.getstate, random.setstate),
]


shared: ContextVar[bool] = ContextVar("shared", default=False)  # whether another thread works meanwhile


@contextmanager
def kept_process_state() -> Iterator[None]:
    """Within it, gradients, threads, default dtype and device, determinism, random generators and folder may change.

    Where another thread works meanwhile they may not, and nothing is put back, which would disturb that thread.
    """
    if shared.get():
        yield
        return
    before = [read() for read, _ in SETTINGS]
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    numpy_state = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for (read, write), value in zip(SETTINGS, before, strict=True):
                if read() != value:
                    write(value)
            np.random.set_state(numpy_state)
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic
