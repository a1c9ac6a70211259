"""Prompts in the vocabulary of the embedded model, distributed as the captions of its training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ddpo_bench.embedded.scenes import caption, sample_scene
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register

BACKGROUND_UNNAMED = 0.4  # share of prompts without a background, as in the training of the embedded model


@register("prompts", "emoji_scenes")
@dataclass
class EmojiScenes:
    """A scene of the embedded model, such as "three frogs on a blue striped background" or "a cat and an apple"."""

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        scene = sample_scene(rng)
        if rng.random() < BACKGROUND_UNNAMED:
            scene = dataclasses.replace(scene, colour=None, pattern=None)
        return caption(scene), {}
