"""The torch reference of Philox noise: published known answers, and the distribution of what it draws."""

from __future__ import annotations

import math

import pytest
import torch
from ddpo_kernels.philox import philox, philox_normal
from scipy.stats import kstest
from torch import Tensor

# counter (4 words), key (2 words), output: kat_vectors of Random123 (Salmon et al. 2011), philox4x32, 10 rounds
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[Tensor]:
    return [torch.tensor([int(word, 16)]) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_words_are_the_published_ones(counter: str, key: str, expected: str) -> None:
    low, high = words(key)
    c0, c1, c2, c3 = words(counter)
    found = philox(low | high << 32, (c0, c1, c2, c3))
    assert [f"{word.item():08x}" for word in found] == expected.split()


def draw(seed: int, step: int, *shape: int) -> Tensor:
    return philox_normal(torch.tensor([seed]), torch.tensor([step]), torch.Size([1, *shape]))


def test_noise_is_normal() -> None:
    """Moments within four standard errors, and Kolmogorov-Smirnov; within a sample, and over samples and steps."""
    seeds, steps = torch.arange(1000, 5000), torch.arange(4000) % 50
    for noise in (draw(3, 7, 4, 128, 128), philox_normal(seeds, steps, torch.Size([4000, 4]))):
        values, n = noise.double().flatten(), noise.numel()
        for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
            assert abs(values.pow(power).mean().item() - moment) < 4 * math.sqrt(variance / n)
        assert kstest(values.numpy(), "norm").pvalue > 1e-3
        assert values.isfinite().all()


def test_another_seed_or_step_is_other_noise() -> None:
    noise = [draw(*key, 4, 32, 32) for key in ((0, 0), (1, 0), (2**32, 0), (-1, 0), (0, 1), (1, 1))]
    stacked = torch.stack([values.flatten() for values in noise])
    others = torch.corrcoef(stacked) - torch.eye(len(noise))
    assert others.abs().max() < 5 / math.sqrt(4096)


def test_a_sample_draws_the_same_in_every_batch() -> None:
    seeds, steps = torch.tensor([5, -7, 2**40, 5]), torch.tensor([0, 3, 3, 1])
    whole = philox_normal(seeds, steps, torch.Size([4, 3, 5, 7]))
    for samples in ([0], [3], [2, 1]):
        part = philox_normal(seeds[samples], steps[samples], torch.Size([len(samples), 3, 5, 7]))
        assert torch.equal(part, whole[samples])
