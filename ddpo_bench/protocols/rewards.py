"""What a reward must offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

Metadata = dict[str, Any]


@dataclass
class RewardOutput:
    """Scores of a batch of images, higher is better.

    Attributes:
        scores: [N], float64.
        info: further measurements, each with N entries.
    """

    scores: Tensor
    info: dict[str, list[Any]] = field(default_factory=dict)


class Reward(Protocol):
    """Scores images; a subclass says where it differs from the defaults.

    It may have a `label`, the name by which metrics and tables know it; without one that is its registered name and the
    options that are not the default.

    Attributes:
        differentiable: whether scores carry gradients to the images.
        offline: whether it needs neither the network nor a download: such a reward is tried before a run, and with its
            default options judges every run.
        tolerance: how far, relatively, a score may move with the number of images that are scored at once.
    """

    differentiable: ClassVar[bool] = False
    offline: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-6

    def mistakes(self) -> list[str]:
        """What on this machine would keep `start` from succeeding, each line beginning with the key to change."""
        return []

    def start(self, device: torch.device) -> None:
        """Load what scoring needs; called once, before the first call."""

    def can_judge(self, prompt: str) -> bool:
        """Whether images of this prompt can be scored."""
        return True

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """images: [N, 3, H, W], float in [0, 1]."""
