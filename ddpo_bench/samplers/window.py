"""The window: the few steps of an epoch's trajectories that are noisy and trained, between deterministic ones.

MixGRPO (Li et al. 2025) moves it along the trajectory; Flow-GRPO-Fast (Liu et al. 2025) places it at random.  It is the
same for the whole epoch, since samples of one prompt that are noisy at different steps cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

import numpy as np

from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Sampler

WINDOW = (
    "the steps that are noisy and trained, the others of a rollout being deterministic; null: all are noisy, as they "
    "always are in evaluations"
)


@dataclass(frozen=True)
class Window:
    """Some steps in a row."""

    steps: int = option(4, "number of steps", minimum=1, maximum=1000, unit="steps")
    schedule: Literal["fixed", "random", "progressive"] = option(
        "progressive",
        "fixed: the noisiest steps; progressive: one step further at every move, and from the start again after the "
        "end; random: anywhere, drawn anew at every move",
    )
    every: int = option(25, "epochs between moves", minimum=1, maximum=LARGEST_COUNT, unit="epochs")

    def place(self, total: int, seed: int, epoch: int) -> range:
        """Which of a trajectory's steps are in the window.

        Args:
            total: number of steps of the trajectory that can be noisy.
            seed: of the run.
            epoch: the first is 1.
        """
        places, move = total - self.steps + 1, max(epoch - 1, 0) // self.every
        first = 0
        if self.schedule == "progressive":
            first = move % places
        elif self.schedule == "random":
            first = int(np.random.default_rng((seed, move)).integers(places))
        return range(first, first + self.steps)

    def mistake(self, total: int) -> str | None:
        """What is wrong with a window in trajectories of so many noisy steps; None where nothing is."""
        if self.steps <= total:
            return None
        return f"window.steps: must be at most {total}, the steps that can be noisy, got {self.steps}."


class Windowed(Sampler, Protocol):
    """A sampler of which some steps alone may be noisy; a dataclass with the option `window`."""

    window: Window | None

    def __post_init__(self) -> None:
        if self.window and (mistake := self.window.mistake(len(self.noisy_steps))):
            raise ValueError(mistake)

    def with_noise_in(self, steps: range) -> Windowed:
        """The same schedule, deterministic at every other step: of standard deviation 0 and without a density."""

    def only(self, steps: range) -> Sampler:
        """These steps alone, counted from 0."""


def of_epoch(sampler: Sampler, seed: int, epoch: int) -> tuple[Sampler, Sampler, range]:
    """What samples an epoch, the noisy part of it alone, and which of its steps that is.

    The part is the sampler itself where all its steps are noisy, or none.
    """
    noisy = sampler.noisy_steps
    window: Window | None = getattr(sampler, "window", None)
    if window is not None:
        steps = window.place(len(noisy), seed, epoch)
        windowed = cast(Windowed, sampler).with_noise_in(steps)
        return windowed, windowed.only(steps), steps
    if len(noisy) in (0, sampler.steps):
        return sampler, sampler, range(sampler.steps)
    return sampler, cast(Windowed, sampler).only(noisy), noisy
