"""Prompts that ask for an animal and the background behind it, one in five of which the embedded model gets wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddpo_bench.embedded.scenes import ANIMALS, COLOURS, PATTERNS, Scene, caption
from ddpo_bench.prompts.words import pick
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register

PATTERNED = tuple(pattern for pattern in PATTERNS if pattern != "plain")


@register("prompts", "patterned_animals")
@dataclass
class PatternedAnimals:
    """One of DDPO's 45 animals on a background with a colour and a pattern: "a dog on a blue striped background"."""

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        animal = pick(rng, tuple(ANIMALS))
        return caption(Scene((animal,), colour=pick(rng, tuple(COLOURS)), pattern=pick(rng, PATTERNED))), {}
