"""Against closed forms, and against the definitions written out pixel by pixel in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpo_bench.training.image_statistics import (
    STATISTICS,
    brightness,
    colourfulness,
    contrast,
    diversity,
    image_statistics,
    sharpness,
)


def flat(red: float, green: float, blue: float, side: int = 12) -> Tensor:
    return torch.tensor([red, green, blue], dtype=torch.float64)[None, :, None, None].expand(1, 3, side, side)


def checkerboard(side: int = 12) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((rows + columns) % 2).double().expand(1, 3, side, side)


def halves(left: tuple[float, float, float], right: tuple[float, float, float]) -> Tensor:
    return torch.cat([flat(*left)[..., :6], flat(*right)[..., :6]], -1)


@pytest.mark.parametrize(
    ("colour", "luma"),
    [((0, 0, 0), 0.0), ((1, 1, 1), 1.0), ((1, 0, 0), 0.299), ((0, 1, 0), 0.587), ((0, 0, 1), 0.114)],
)
def test_a_flat_image_is_as_bright_as_its_luma_and_has_neither_contrast_nor_edges(
    colour: tuple[float, float, float], luma: float
) -> None:
    image = flat(*colour)
    assert brightness(image).item() == pytest.approx(luma, abs=1e-12)
    assert contrast(image).item() == pytest.approx(0, abs=1e-12)
    assert sharpness(image).item() == pytest.approx(0, abs=1e-12)


def test_a_checkerboard_of_single_pixels_has_the_largest_contrast_and_sharpness() -> None:
    image = checkerboard()
    assert brightness(image).item() == pytest.approx(0.5)
    assert contrast(image).item() == pytest.approx(0.5)
    assert sharpness(image).item() == pytest.approx(16)  # the Laplacian is +4 or -4, as often


def test_half_black_half_white_is_as_contrasty_as_a_checkerboard_but_less_sharp() -> None:
    image = halves((0, 0, 0), (1, 1, 1))
    assert contrast(image).item() == pytest.approx(0.5)
    assert sharpness(image).item() == pytest.approx(2 / 10)  # +1 and -1 in two of the ten inner columns


def test_colourfulness_of_flat_colours_is_the_mean_term_alone() -> None:
    assert colourfulness(flat(0.4, 0.4, 0.4)).item() == pytest.approx(0, abs=1e-9)
    assert colourfulness(flat(1, 0, 0)).item() == pytest.approx(0.3 * math.hypot(255, 127.5))
    assert colourfulness(flat(0, 0, 1)).item() == pytest.approx(0.3 * 255)


def test_colourfulness_of_half_red_half_green_is_its_spread_and_its_mean() -> None:
    # red - green is +-255: mean 0, deviation 255; (red + green) / 2 - blue is 127.5 everywhere
    assert colourfulness(halves((1, 0, 0), (0, 1, 0))).item() == pytest.approx(255 + 0.3 * 127.5)


def test_they_agree_with_their_definitions_on_random_images() -> None:
    images = torch.rand(3, 3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i, (red, green, blue) in enumerate(images.numpy()):
        y = 0.299 * red + 0.587 * green + 0.114 * blue
        laplacian = [
            y[r - 1, c] + y[r + 1, c] + y[r, c - 1] + y[r, c + 1] - 4 * y[r, c]
            for r in range(1, 8)
            for c in range(1, 6)
        ]
        rg, yb = 255 * (red - green), 255 * ((red + green) / 2 - blue)
        expected = {
            "brightness": y.mean(),
            "contrast": np.sqrt(((y - y.mean()) ** 2).mean()),
            "colourfulness": np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()),
            "sharpness": np.var(laplacian),
        }
        assert {name: f(images)[i].item() for name, f in STATISTICS.items()} == pytest.approx(expected)


def test_the_figures_of_a_set_are_means_over_its_images() -> None:
    values = image_statistics(torch.cat([flat(0, 0, 0), checkerboard()]).float())
    assert values.keys() == STATISTICS.keys()
    assert values == pytest.approx({"brightness": 0.25, "contrast": 0.25, "colourfulness": 0, "sharpness": 8})


def test_diversity_is_the_mean_rms_difference_of_the_pairs_of_one_prompt() -> None:
    greys = torch.tensor([[0.0, 0.3, 0.9], [0.5, 0.5, 0.5]])  # two prompts, three samples
    samples = greys[:, :, None, None, None].expand(2, 3, 3, 32, 32)
    assert diversity(samples) == pytest.approx(((0.3 + 0.9 + 0.6) / 3 + 0) / 2)


def test_diversity_is_zero_for_equal_samples_and_one_for_opposites() -> None:
    image = torch.rand(1, 1, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    assert diversity(image.expand(1, 4, 3, 48, 40)) == 0
    assert diversity(torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])[None]) == 1


def test_diversity_compares_the_means_of_blocks_of_pixels() -> None:
    samples = torch.rand(2, 3, 3, 64, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    small = samples.numpy().reshape(2, 3, 3, 16, 4, 16, 2).mean((4, 6))
    pairs = [(small[:, i] - small[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    expected = np.mean([np.sqrt((pair**2).mean((1, 2, 3))) for pair in pairs])
    assert diversity(samples) == pytest.approx(expected)


def test_texture_finer_than_the_blocks_does_not_count_as_diversity() -> None:
    board = checkerboard(64)[0]
    assert diversity(torch.stack([board, 1 - board])[None]) == 0
