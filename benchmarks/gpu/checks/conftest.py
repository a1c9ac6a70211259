"""A policy on the device, and a block in which nothing may wait for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from steps import Steps, make_steps


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def steps_in(device: torch.device) -> Callable[[str], Steps]:
    """Makes drawn steps of the embedded model in a precision; each is made once."""
    made: dict[str, Steps] = {}

    def get(precision: str) -> Steps:
        if precision == "bf16" and device.type == "cpu":
            pytest.skip("bf16 is measured on GPUs alone")
        if precision not in made:
            made[precision] = make_steps(device, precision)
        return made[precision]

    return get


@pytest.fixture
def never_waiting(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """A block in which a synchronisation of the host with the GPU is an error; any block, on a CPU."""
    return refusing if device.type == "cuda" else nullcontext


@contextmanager
def refusing() -> Iterator[None]:
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
