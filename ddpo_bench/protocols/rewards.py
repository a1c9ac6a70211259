"""What a reward must offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig

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
        waits_for: what its time goes to.  Images are scored while others are sampled if that is the network, or a GPU
            that does not sample; it then changes nothing of the process's state, and an image's score depends on no
            other one.
        tolerance: how far, relatively, a score may move with the number of images that are scored at once.
        part_labels: of the rewards that it is made of, whose scores are in its info by these names.
    """

    differentiable: ClassVar[bool] = False
    offline: ClassVar[bool] = False
    waits_for: ClassVar[Literal["network", "gpu", "cpu"]] = "cpu"
    tolerance: ClassVar[float] = 1e-6
    part_labels: Sequence[str] = ()

    def mistakes(self) -> list[str]:
        """What on this machine would keep `start` from succeeding, each line beginning with the key to change."""
        return []

    def mistakes_with(self, config: RunConfig) -> list[str]:
        """What in a run's other keys does not go with this reward, each line beginning with the key."""
        return []

    def start(self, device: torch.device) -> None:
        """Load what scoring needs; called once, before the first call."""

    def in_use(self) -> AbstractContextManager[None]:
        """Around the scoring of a batch, for a reward that is somewhere else in between."""
        return nullcontext()

    def can_judge(self, prompt: str, metadata: Metadata) -> bool:
        """Whether images of this prompt, with what is known of it, can be scored."""
        return self.prompt_mistake(prompt, metadata) is None

    def prompt_mistake(self, prompt: str, metadata: Metadata) -> str | None:
        """Why images of this prompt cannot be scored, which `validate` tells; None where they can."""
        return None

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """images: [N, 3, H, W], float in [0, 1]."""

    def of_all(self, scores: Tensor, numbers: Mapping[str, Tensor], prompts: list[str], training: bool) -> Tensor:
        """Scores [N] of a whole epoch or evaluation, for a reward where one depends on the others.

        Every process calls it with the same arguments.

        Args:
            scores: [N], float64, as `__call__` gave them on whichever process; NaN where there is none.
            numbers: the numbers in info, [N] each, NaN where there is none.
            training: whether it is an epoch of training, which the state may then include.
        """
        return scores

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to give the same scores."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept between epochs."""
