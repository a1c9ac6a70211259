"""Noise that the kernel draws itself: that of the torch reference, keyed by (seed, step, offset) alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import DEVICE, DTYPES, make_step, ulp
from ddpo_kernels import AffineStep, sample
from ddpo_kernels.philox import philox_normal
from torch import Tensor

SEEDS = torch.tensor([0, 1, -1, 2**31, 2**63 - 1, -(2**63)], device=DEVICE)
ROWS = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]], device=DEVICE)  # mean 0, sigma 1: x_prev is the noise


def plain_step(shape: tuple[int, ...], batch: int) -> AffineStep:
    return replace(make_step(shape, batch), table=ROWS.repeat(4, 1), index=torch.arange(batch, device=DEVICE) % 4)


def drawn(step: AffineStep, seeds: Tensor) -> Tensor:
    return sample(step, seeds=seeds, backend="triton").x_prev.detach()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 19), (1, 1, 4099), (4, 64, 64)])
def test_the_noise_is_that_of_the_torch_reference(shape: tuple[int, ...]) -> None:
    """Within a few ulp of the radius, which logarithm and cosine differ by on other machines."""
    step = plain_step(shape, len(SEEDS))
    expected = philox_normal(SEEDS, step.index, step.x_t.shape)
    found = drawn(step, SEEDS)
    assert ((found - expected).abs() <= 4 * ulp(expected.abs().clamp_min(2.0), torch.float32)).all()


@pytest.mark.parametrize("dtypes", DTYPES)
def test_seeds_draw_what_their_noise_draws(dtypes: str) -> None:
    """Up to the rounding of the noise itself, which the kernel keeps in fp32."""
    step = make_step(dtypes=DTYPES[dtypes], guided=True)
    noise = philox_normal(SEEDS[:3], step.index, step.x_t.shape).to(step.x_t.dtype)
    found = drawn(step, SEEDS[:3]).double()
    expected = sample(step, noise, backend="torch").x_prev.detach().double()
    dtype = step.x_t.dtype
    assert ((found - expected).abs() <= 2 * ulp(expected, dtype) + ulp(noise.double(), dtype) + 2e-6).all()


def test_another_seed_or_step_is_other_noise_everywhere() -> None:
    step = plain_step((3, 17, 19), 1)
    zero = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    noise = [drawn(step, seeds) for seeds in (zero, zero + 1, zero + 2**32)]
    noise.append(drawn(replace(step, index=zero + 1), zero))
    for first in range(4):
        for second in range(first):
            assert (noise[first] == noise[second]).float().mean() < 0.01
            correlation = torch.corrcoef(torch.stack([noise[first].flatten(), noise[second].flatten()]))[0, 1]
            assert correlation.abs() < 4 / 969**0.5
    assert noise[0].unique().numel() > 960  # and every offset has its own


def test_the_rest_of_the_batch_does_not_change_the_noise() -> None:
    step = plain_step((3, 17, 19), 4)
    seeds = torch.tensor([3, 1, 4, 1], device=DEVICE)
    whole = drawn(step, seeds)
    for samples in ([2], [3, 0]):
        part = AffineStep(step.model_output.detach()[samples], step.x_t[samples], step.table, step.index[samples])
        assert torch.equal(drawn(part, seeds[samples]), whole[samples])


def test_seeds_may_be_views_of_a_table_of_seeds() -> None:
    """seeds[:, k], and one seed expanded over the batch."""
    step = plain_step((3, 5, 7), 3)
    table = torch.arange(6, device=DEVICE).view(3, 2)
    for seeds in (table[:, 0], table[:, 1], table[0, :1].expand(3)):
        assert torch.equal(drawn(step, seeds), drawn(step, seeds.clone()))


def test_the_noise_is_normal() -> None:
    """Mean, variance, skewness and kurtosis of 49,152 numbers, within four standard errors."""
    noise = drawn(plain_step((4, 64, 64), 3), SEEDS[:3]).double().flatten()
    n = noise.numel()
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs(noise.pow(power).mean().item() - moment) < 4 * (variance / n) ** 0.5
