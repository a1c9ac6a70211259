"""Prompts that ask for a number of things (DDPO's `counting`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddpo_bench.embedded.scenes import plural
from ddpo_bench.prompts.words import noun_words, pick
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@register("prompts", "counting")
@dataclass
class Counting:
    """A number of things: "three frogs"; the metadata hold the noun and its count."""

    low: int = 2  # least number, from 1
    high: int = 4  # greatest number, up to 12; the embedded model draws up to 4
    nouns: str | None = None  # text file, one singular noun a line; DDPO's 45 animals without one
    noun_list: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high <= len(NUMBERS):
            raise ValueError(f"low, high: must be 1 <= low <= high <= {len(NUMBERS)}, got {self.low} and {self.high}.")
        self.noun_list = noun_words(self.nouns)

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        count = int(rng.integers(self.low, self.high + 1))
        noun = pick(rng, self.noun_list)
        return f"{NUMBERS[count - 1]} {noun if count == 1 else plural(noun)}", {"noun": noun, "count": count}
