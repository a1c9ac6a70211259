"""How much redder than green and blue a picture is: a reward that a gradient can flow through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import register


@register("reward", "redness")
@dataclass
class Redness(Reward):
    """Mean of the red channel minus that of the other two, -1 to 1."""

    differentiable: ClassVar[bool] = True

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        red, green, blue = images.double().mean(dim=(2, 3)).unbind(1)
        return RewardOutput(red - (green + blue) / 2)
