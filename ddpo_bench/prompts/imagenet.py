"""Prompts that are the bare name of an ImageNet class, as in DDPO (Black et al. 2024).

The classes are those of ILSVRC 2012 in their standard order, which puts the animals first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddpo_bench.prompts.words import pick, shipped_words
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register

ANIMALS = slice(0, 398)  # tench to puffer
DOGS = slice(151, 269)  # Chihuahua to Mexican hairless


@register("prompts", "imagenet_all")
@dataclass
class ImagenetAll:
    """One of the 1000 ImageNet classes, such as "great white shark" or "wok"."""

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        return pick(rng, shipped_words("imagenet")), {}


@register("prompts", "imagenet_animals")
@dataclass
class ImagenetAnimals:
    """One of the 398 animals among the ImageNet classes, such as "great white shark"."""

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        return pick(rng, shipped_words("imagenet")[ANIMALS]), {}


@register("prompts", "imagenet_dogs")
@dataclass
class ImagenetDogs:
    """One of the 118 dog breeds among the ImageNet classes, such as "golden retriever"."""

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        return pick(rng, shipped_words("imagenet")[DOGS]), {}
