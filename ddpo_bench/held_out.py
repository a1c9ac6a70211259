"""The split of prompts into those for training and those held out for evaluation.

A hash of its text decides on which side a prompt is, so that it is the same side in every run, whatever the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

PromptFunction = Callable[["np.random.Generator"], tuple[str, dict[str, Any]]]
EvaluationPrompts = Literal["held_out", "training"]
ONE_IN = 5  # one prompt in five is held out
MOST_DRAWS = 10_000  # to find one prompt; for a side with a thousandth of the draws they fail once in e^10 times


class TooFewPrompts(ValueError):
    """A prompt function never draws a prompt of one side."""


def is_held_out(prompt: str) -> bool:
    """Whether a prompt is held out for evaluation; about a fifth of all prompts are."""
    return int(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest(), 16) % ONE_IN == 0


def split(
    function: PromptFunction, evaluation: EvaluationPrompts, seen: Callable[[str], str] = str
) -> tuple[PromptFunction, PromptFunction]:
    """The prompt functions of training and of evaluation.

    Args:
        function: the function to split; one that knows its own split has a method `sides`, which returns both
            functions, or None.
        evaluation: "held_out" for two sides that share no prompt, "training" for the whole function on both sides.
        seen: gives the part of a prompt that the policy reads; its hash decides the side.
    """
    if evaluation == "training":
        return function, function
    own: Callable[[], tuple[PromptFunction, PromptFunction] | None] = getattr(function, "sides", lambda: None)
    return own() or (Side(function, False, seen), Side(function, True, seen))


@dataclass(frozen=True)
class Side:
    """The held-out prompts of a function, or the others, distributed as the function draws them.

    Raises:
        TooFewPrompts: where the function draws none of this side.
    """

    function: PromptFunction
    held_out: bool
    seen: Callable[[str], str] = str

    def __call__(self, rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
        others = set()
        for _ in range(MOST_DRAWS):
            prompt, metadata = self.function(rng)
            if is_held_out(self.seen(prompt)) is self.held_out:
                return prompt, metadata
            others.add(prompt)
        none, are = ("none", "is") if self.held_out else ("all", "are")
        raise TooFewPrompts(
            f"{none} of {MOST_DRAWS:,} prompts drawn ({len(others)} different ones) {are} held out for evaluation, as "
            "a hash of their text decides. Add prompts, or set evaluation.prompts: training."
        )


def too_few(function: PromptFunction, evaluation: EvaluationPrompts) -> str | None:
    """What is wrong where one side has no prompts; None where both have some."""
    import numpy as np

    try:
        for side in split(function, evaluation):
            side(np.random.default_rng(0))
    except TooFewPrompts as error:
        return str(error)
    return None
