"""JPEG rewards against an encoding made here, from a file on disk, and the facts that a size must obey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpo_bench.registry import get

PROMPTS = [""] * 4


def test_score_is_the_size_of_a_quality_95_file_in_thousands_of_bytes(images: Tensor, tmp_path: Path) -> None:
    sizes = []
    for image in images.numpy():
        pixels = np.stack([np.rint(channel * 255).astype(np.uint8) for channel in image], axis=-1)
        Image.fromarray(pixels, mode="RGB").save(tmp_path / "image.jpg", quality=95)
        sizes.append((tmp_path / "image.jpg").stat().st_size / 1000)
    larger = get("reward", "jpeg_incompressibility")()(images, PROMPTS, [{}] * 4).scores
    smaller = get("reward", "jpeg_compressibility")()(images, PROMPTS, [{}] * 4).scores
    assert larger.tolist() == sizes
    assert smaller.tolist() == [-size for size in sizes]


def test_flat_compresses_better_than_a_gradient_better_than_noise(images: Tensor) -> None:
    flat = torch.full((1, 3, 24, 40), 0.5)
    gradient = torch.linspace(0, 1, 40).expand(1, 3, 24, 40)
    batch = torch.cat([images[:1], gradient, flat])
    noise_score, gradient_score, flat_score = get("reward", "jpeg_compressibility")()(batch, PROMPTS, []).scores
    assert noise_score < gradient_score < flat_score


def test_values_beyond_the_range_are_clamped_not_wrapped(images: Tensor) -> None:
    reward = get("reward", "jpeg_incompressibility")()
    wild = images * 4 - 2
    assert torch.equal(reward(wild, PROMPTS, []).scores, reward(wild.clamp(0, 1), PROMPTS, []).scores)
