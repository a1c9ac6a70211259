"""The kernel's noise is that of the torch reference, bit for bit."""

from __future__ import annotations

import pytest
import torch
from cases import DEVICE
from ddpo_kernels import normal
from torch import Tensor

SAMPLES = torch.tensor([0, 1, 2**31, 2**32 - 1], device=DEVICE)
STEPS = torch.tensor([0, 3, 2**32 - 1, 5], device=DEVICE)
KEYS = (0, 5, 2**32, 0xA4093822_299F31D0, 2**63, 2**64 - 1)
SHAPES = [(1,), (2,), (3,), (5,), (3, 17, 19), (4, 64, 64)]


def bits(noise: Tensor) -> Tensor:
    return noise.cpu().view(torch.int32)


@pytest.mark.parametrize(("key", "shape"), [*((key, (5,)) for key in KEYS), *((KEYS[3], shape) for shape in SHAPES)])
def test_the_noise_is_that_of_the_torch_reference_on_a_cpu(key: int, shape: tuple[int, ...]) -> None:
    expected = normal(key, SAMPLES.cpu(), STEPS.cpu(), shape, backend="torch")
    for backend in ("triton", "torch"):
        assert torch.equal(bits(normal(key, SAMPLES, STEPS, shape, backend)), bits(expected))


def test_samples_and_steps_may_be_views() -> None:
    """Of a table, and one number expanded over the batch."""
    table = torch.arange(6, device=DEVICE).view(3, 2)
    for samples, steps in ((table[:, 0], table[:, 1]), (table[0, 1:].expand(3), table[:, 0])):
        found, expected = (normal(1, *each, (5,), "triton") for each in ((samples, steps), (samples + 0, steps + 0)))
        assert torch.equal(found, expected)
