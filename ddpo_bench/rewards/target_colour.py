"""How much of a picture has a given colour: the quickest reward to learn, and to see learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddpo_bench.embedded.scenes import COLOURS
from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import register, unknown

WIDTH = 0.25  # RGB distance at which a pixel still counts exp(-1/2); black and white are sqrt(3) apart


@register("reward", "target_colour")
@dataclass
class TargetColour(Reward):
    """Share of the picture near a colour, 0 to 1: the mean over pixels of exp(-|rgb - colour|^2 / (2 * 0.25^2))."""

    colour: str = option("blue", f"one of the embedded model's background colours: {', '.join(COLOURS)}")

    differentiable: ClassVar[bool] = True
    offline: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise ValueError(f"colour: {unknown('colour', self.colour, COLOURS)}")

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        pixels = images.float()
        target = torch.tensor(COLOURS[self.colour], dtype=torch.float32, device=pixels.device) / 255
        squared_distance = (pixels - target.view(1, 3, 1, 1)).square().sum(dim=1)  # [N, H, W]
        return RewardOutput(torch.exp(-squared_distance / (2 * WIDTH**2)).mean(dim=(1, 2)).cpu().double())
