"""Which prompts training draws, and which are held out for evaluation.

A hash of its text decides where a prompt belongs, so that it is on the same side in every run, whatever the seed.
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
ONE_IN = 5  # prompts is held out
MOST_DRAWS = 10_000  # for one prompt; a side that holds a thousandth of the draws fails once in e^10 times


class TooFewPrompts(ValueError):
    """A prompt function that never draws a prompt of one side."""


def is_held_out(prompt: str) -> bool:
    """Whether a prompt belongs to evaluation; about a fifth of all prompts does."""
    return int(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest(), 16) % ONE_IN == 0


def split(
    function: PromptFunction, evaluation: EvaluationPrompts, seen: Callable[[str], str] = str
) -> tuple[PromptFunction, PromptFunction]:
    """What training draws its prompts from, and what evaluation does.

    Args:
        function: a split of its own, where it has one, is what its method `sides` returns: None, or both functions.
        evaluation: "held_out" for two sides that share no prompt, "training" for the whole function on both.
        seen: the part of a prompt that the policy reads, whose hash decides.
    """
    if evaluation == "training":
        return function, function
    own: Callable[[], tuple[PromptFunction, PromptFunction] | None] = getattr(function, "sides", lambda: None)
    return own() or (Side(function, False, seen), Side(function, True, seen))


@dataclass(frozen=True)
class Side:
    """The prompts of a function that are held out, or those that are not, distributed as the function draws them.

    Raises:
        TooFewPrompts: where the function draws none.
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
