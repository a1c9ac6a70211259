"""Noise: Philox's published answers, the distribution of what is made of its words, and what it is keyed by."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ddpo_kernels import normal
from ddpo_kernels.noise import box_muller
from ddpo_kernels.philox import philox
from scipy.stats import kstest
from torch import Tensor

# counter (4 words), key (2 words), output: kat_vectors of Random123 (Salmon et al. 2011), philox4x32, 10 rounds
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
LARGEST = 6.661  # sqrt(-2 log 2^-32)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_words_are_the_published_ones(counter: str, key: str, expected: str) -> None:
    low, high = (int(word, 16) for word in key.split())
    c0, c1, c2, c3 = (torch.tensor([int(word, 16)]) for word in counter.split())
    for as_given in (high << 32 | low, (high << 32 | low) - 2**64):
        found = philox(as_given, (c0, c1, c2, c3))
        assert [f"{word.item():08x}" for word in found] == expected.split()


def draw(key: int, samples: list[int], steps: list[int], *shape: int) -> Tensor:
    return normal(key, torch.tensor(samples), torch.tensor(steps), shape, backend="torch")


def test_a_counter_is_the_place_the_step_and_the_sample() -> None:
    """The words of three counters by NumPy's integers, and float64's logarithm and circle."""
    key, sample, step = 0xA4093822_299F31D0, 2**32 - 1, 7
    noise = draw(key, [sample], [step], 12)[0].double()
    places = torch.arange(3)
    words = philox(key, (places, torch.tensor([step]), torch.tensor([sample]), torch.tensor([0])))
    for half in (0, 1):
        radii, angles = (word.numpy().astype(np.uint64) for word in (words[half], words[half + 2]))
        radius = np.sqrt(-2 * np.log((radii | np.uint64(1)) / 2**32))
        b = (angles | np.uint64(1)).astype(np.uint32).astype(np.int32) * (math.pi / 4 / 2**31) + math.pi / 4
        signs = (1 - 2.0 * (radii & np.uint64(1)), 1 - 2.0 * (angles & np.uint64(1)))
        for first, expected in ((0, signs[0] * radius * np.cos(b)), (6, signs[1] * radius * np.sin(b))):
            found = noise[first + 3 * half : first + 3 * half + 3]
            np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6, atol=2e-6)


def test_noise_is_normal() -> None:
    """Moments within four standard errors, and Kolmogorov-Smirnov; in a sample, and over samples, steps and keys."""
    pairs = [*range(1000, 5000)], [n % 50 for n in range(4000)]
    keyed = torch.stack([draw(key, [0], [0], 4) for key in range(4000)])
    for noise in (draw(3, [0], [7], 4, 128, 128), draw(5, *pairs, 5), keyed):
        values, n = noise.double().flatten(), noise.numel()
        for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
            assert abs(values.pow(power).mean().item() - moment) < 4 * math.sqrt(variance / n)
        assert kstest(values.numpy(), "norm").pvalue > 1e-3


def test_the_tails_are_finite_and_reached() -> None:
    extreme = torch.tensor([0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
    radii, angles = (words.flatten() for words in torch.meshgrid(extreme, extreme, indexing="ij"))
    values = torch.stack(box_muller(radii, angles))
    assert values.isfinite().all()
    assert values.max() == -values.min() == pytest.approx(LARGEST, abs=1e-3)


def test_another_key_sample_or_step_is_other_noise() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (2**32, 0, 0), (2**63, 0, 0), (0, 1, 0), (0, 2**31, 0), (0, 0, 1), (0, 1, 1)]
    noise = torch.stack([draw(key, [sample], [step], 4096)[0] for key, sample, step in keys])
    assert (torch.corrcoef(noise) - torch.eye(len(noise))).abs().max() < 5 / math.sqrt(4096)
    quarters = draw(0, [0], [0], 4, 4096)[0]  # numbers that share their words
    for values in (quarters, quarters.square()):
        assert (torch.corrcoef(values) - torch.eye(4)).abs().max() < 5 / math.sqrt(4096)


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 5, 7), (4, 8, 8)])
def test_a_sample_draws_the_same_in_every_batch(shape: tuple[int, ...]) -> None:
    samples, steps = [5, 7, 2**31, 5], [0, 3, 3, 1]
    whole = draw(-9, samples, steps, *shape)
    assert whole.shape == (4, *shape)
    for some in ([0], [3], [2, 1]):
        assert torch.equal(draw(-9, [samples[n] for n in some], [steps[n] for n in some], *shape), whole[some])
