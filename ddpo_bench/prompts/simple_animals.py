"""Prompts that name a common animal (Black et al. 2024, section 6.2 and appendix)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddpo_bench.embedded.scenes import ANIMALS, article
from ddpo_bench.prompts.words import pick
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register


@register("prompts", "simple_animals")
@dataclass
class SimpleAnimals:
    """One of DDPO's 45 common animals with its article, such as "a dog".

    DDPO's own prompts are the bare names; the captions in the training of the embedded model have articles.
    """

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        animal = pick(rng, tuple(ANIMALS))
        return f"{article(animal)} {animal}", {}
