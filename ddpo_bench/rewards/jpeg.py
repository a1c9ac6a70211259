"""JPEG size as a reward, both ways (Black et al. 2024, section 5.2): quality 95, 1 kB = 1000 bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.eight_bit import eight_bit

QUALITY = 95


@register("reward", "jpeg_compressibility")
@dataclass
class JpegCompressibility(Reward):
    """Minus the size of the image as a JPEG, in kB."""

    offline: ClassVar[bool] = True

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        return RewardOutput(-jpeg_kilobytes(images))


@register("reward", "jpeg_incompressibility")
@dataclass
class JpegIncompressibility(Reward):
    """The size of the image as a JPEG, in kB."""

    offline: ClassVar[bool] = True

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        return RewardOutput(jpeg_kilobytes(images))


def jpeg_kilobytes(images: Tensor) -> Tensor:
    """Sizes of images as JPEG files.

    Args:
        images: [N, 3, H, W] in [0, 1]; values beyond are clamped.
    Returns:
        [N], float64, kB.
    """
    return torch.tensor([jpeg_bytes(Image.fromarray(one)) / 1000 for one in eight_bit(images)], dtype=torch.float64)


def jpeg_bytes(image: Image.Image) -> int:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.tell()
