"""The function that is checked, and the inputs that it is called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.conformance.closed_forms import ExactLaw
from ddpo_bench.conformance.conventions import STEPS, Convention

LATENT = (4, 64, 64)  # of Stable Diffusion 1.5 at 512 pixels
DIMENSIONS = 4 * 64 * 64
BATCH = 4
PLACES = {"first step": 0, "middle step": STEPS // 2, "last step": STEPS - 1}


class WrongAnswer(ValueError):
    """What a function returned is not what its convention returns."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of one call: model_output and sample [B, C, H, W], timestep [B], and the amount of noise."""

    scheduler: Any
    model_output: Tensor
    timestep: Tensor
    sample: Tensor
    noise: float

    def to(self, dtype: torch.dtype) -> Inputs:
        return replace(self, model_output=self.model_output.to(dtype), sample=self.sample.to(dtype))

    def one_by_one(self) -> list[Inputs]:
        """Each sample as a batch of its own."""
        parts = zip(self.model_output.split(1), self.timestep.split(1), self.sample.split(1), strict=True)
        return [replace(self, model_output=m, timestep=t, sample=x) for m, t, x in parts]


@dataclass(frozen=True)
class Answer:
    """What a call returned: prev_sample, log_prob [B] and, where the convention has them, mean and std."""

    prev_sample: Tensor
    log_prob: Tensor
    mean: Tensor | None = None
    std: Tensor | None = None


@dataclass(frozen=True, eq=False)  # known by its identity: a function may be an object that cannot be hashed
class Step:
    """A function under its convention."""

    function: Callable[..., Any]
    convention: Convention

    def inputs(self, prediction: str | None = None, steps: list[int] | None = None, seed: int = 0) -> Inputs:
        """Random inputs in float32.

        Args:
            prediction: what the model predicts (default: the convention's first).
            steps: of each sample (default: one, at the middle step).
        """
        steps = [PLACES["middle step"]] if steps is None else steps
        scheduler = self.convention.scheduler(prediction or self.convention.predictions[0])
        both = torch.randn(2, len(steps), *LATENT, generator=torch.Generator().manual_seed(seed))
        return Inputs(scheduler, both[0], scheduler.timesteps[torch.tensor(steps)], both[1], self.convention.level)

    def law(self, inputs: Inputs) -> ExactLaw:
        given = inputs.scheduler, inputs.model_output, inputs.timestep, inputs.sample, inputs.noise
        return self.convention.law(*given)

    def stored(self, inputs: Inputs, seed: int = 1) -> Tensor:
        """A sample of the closed form's law, in the dtype of the inputs."""
        z = torch.randn(inputs.sample.shape, generator=torch.Generator().manual_seed(seed))
        return self.law(inputs).at(z).to(inputs.sample.dtype)

    def score(self, inputs: Inputs, prev_sample: Tensor) -> Answer:
        """Score a sample, in a copy, which a function may spoil."""
        return self.call(inputs, prev_sample=prev_sample.clone())

    def score_one_by_one(self, inputs: Inputs, prev_sample: Tensor) -> list[Answer]:
        return [self.score(*one) for one in zip(inputs.one_by_one(), prev_sample.split(1), strict=True)]

    def draw(self, inputs: Inputs, seed: int = 2) -> Answer:
        """Sample, with a generator of this seed where the function takes one, else with torch's own so seeded."""
        if self.takes_generator:
            return self.call(inputs, generator=torch.Generator().manual_seed(seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.call(inputs)

    @property
    def takes_generator(self) -> bool:
        return "generator" in inspect.signature(self.function).parameters

    def call(self, inputs: Inputs, **given: Any) -> Answer:
        """Call the function.

        Raises:
            WrongAnswer: where it returned something else than its convention says.
        """
        arguments = given | {self.convention.noise: inputs.noise}
        answer = self.function(inputs.scheduler, inputs.model_output, inputs.timestep, inputs.sample, **arguments)
        expected = 4 if self.convention.returns_law else 2
        if not isinstance(answer, (tuple, list)) or len(answer) < expected:
            what = f"{len(answer)} values" if isinstance(answer, (tuple, list)) else type(answer).__name__
            raise WrongAnswer(f"returned {what}, not {self.convention.written.partition('-> ')[2]}")
        for name, value in zip(("prev_sample", "log_prob", "mean", "std"), answer[:expected], strict=False):
            if not isinstance(value, Tensor):
                raise WrongAnswer(f"the {name} that it returned is {type(value).__name__}, not a tensor")
        log_prob = answer[1]
        if log_prob.shape != inputs.sample.shape[:1]:
            shape = list(log_prob.shape)
            raise WrongAnswer(f"log_prob has the shape {shape}, not one number a sample, [{len(inputs.sample)}]")
        return Answer(*answer[:expected])
