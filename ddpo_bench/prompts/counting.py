"""Prompts that ask for a number of things (DDPO's `counting`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddpo_bench.embedded.scenes import plural
from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.prompts.words import file_inputs, noun_words, pick
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@register("prompts", "counting")
@dataclass
class Counting:
    """A number of things, such as "three frogs"; the metadata hold the noun and its count."""

    low: int = option(2, "smallest number of things", minimum=1, maximum=len(NUMBERS))
    high: int = option(4, "largest number of things; the embedded model draws up to 4", minimum=1, maximum=len(NUMBERS))
    nouns: str | None = option(None, "text file with one singular noun per line; by default DDPO's 45 animals")
    noun_list: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low: must be at most high ({self.high}), got {self.low}.")
        self.noun_list = noun_words(self.nouns)

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        count = int(rng.integers(self.low, self.high + 1))
        noun = pick(rng, self.noun_list)
        return f"{NUMBERS[count - 1]} {noun if count == 1 else plural(noun)}", {"noun": noun, "count": count}

    def inputs(self) -> Inputs:
        return file_inputs(nouns=self.nouns)
