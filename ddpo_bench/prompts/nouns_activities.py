"""Prompts that name an animal and what it does (Black et al. 2024, section 6.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddpo_bench.embedded.scenes import article
from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.prompts.words import file_inputs, file_words, noun_words, pick
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register

ACTIVITIES = ("riding a bike", "playing chess", "washing the dishes")  # the paper's three


@register("prompts", "nouns_activities")
@dataclass
class NounsActivities:
    """A noun and an activity, such as "a dog riding a bike"."""

    nouns: str | None = option(None, "text file with one noun per line; by default DDPO's 45 animals")
    activities: str | None = option(None, "text file with one activity per line; by default DDPO's three")
    noun_list: tuple[str, ...] = field(init=False, repr=False)
    activity_list: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.noun_list = noun_words(self.nouns)
        self.activity_list = ACTIVITIES if self.activities is None else file_words("activities", self.activities)

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        noun = pick(rng, self.noun_list)
        return f"{article(noun.lower())} {noun} {pick(rng, self.activity_list)}", {}

    def inputs(self) -> Inputs:
        return file_inputs(nouns=self.nouns, activities=self.activities)
