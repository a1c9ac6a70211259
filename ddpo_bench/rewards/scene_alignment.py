"""Whether a picture shows what its prompt says, by the verifier that is shipped with the embedded model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import ClassVar

import torch
from torch import Tensor

from ddpo_bench.embedded.scenes import COLOURS, NOUNS, PATTERNS, Scene, parse_caption
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.checking import RewardError

BEYOND_FOUR = re.compile(r"\b(\d+|five|six|seven|eight|nine|ten|eleven|twelve)\b", re.IGNORECASE)


@register("reward", "scene_alignment")
@dataclass
class SceneAlignment(Reward):
    """Probability, 0 to 1, that the picture shows what the prompt says: nouns, count, colour and pattern.

    The product of what the prompt names: presence of the noun (for "a cat and an apple" the geometric mean of both,
    so that pairs are not harder than single nouns by construction), total count, background colour, pattern.
    """

    differentiable: ClassVar[bool] = True
    offline: ClassVar[bool] = True

    def can_judge(self, prompt: str, metadata: Metadata) -> bool:
        """Whether the prompt names a known noun, and no more things than the verifier counts."""
        return requested_scene(prompt) is not None

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        from ddpo_bench.embedded.verifier import load_verifier  # reads weights, which only this reward needs

        scenes = [scene_or_error(prompt) for prompt in prompts]
        found = load_verifier().probabilities(images.float().cpu())
        parts = [
            named_parts(scene, {part: probabilities[i].double() for part, probabilities in found.items()})
            for i, scene in enumerate(scenes)
        ]
        scores = torch.stack([reduce(mul, part.values()) for part in parts])
        info = {
            key: [float(part[key].detach()) if key in part else None for part in parts]
            for key in ("nouns", "count", "colour", "pattern")
        }
        return RewardOutput(scores, info)


def requested_scene(prompt: str) -> Scene | None:
    """The scene that a prompt asks for; None where it names no known noun, or more things than the verifier counts."""
    return None if BEYOND_FOUR.search(prompt) else parse_caption(prompt)


def scene_or_error(prompt: str) -> Scene:
    scene = requested_scene(prompt)
    if scene is None:
        raise RewardError(
            f"reward scene_alignment: cannot judge the prompt {prompt!r}: it must name a noun of the embedded model, "
            "and a number only as a word up to four. Prompts that fit: emoji_scenes, simple_animals."
        )
    return scene


def named_parts(scene: Scene, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Probability of each thing that the scene names, a scalar; what it leaves open is left out.

    Args:
        found: of one image: "nouns" [85], "count" [4], "colour" [10], "pattern" [4].
    """
    parts = {
        "nouns": geometric_mean([found["nouns"][NOUNS.index(noun)] for noun in scene.nouns]),
        "count": found["count"][scene.count * len(scene.nouns) - 1],
    }
    if scene.colour is not None:
        parts["colour"] = found["colour"][tuple(COLOURS).index(scene.colour)]
    if scene.pattern is not None:
        parts["pattern"] = found["pattern"][PATTERNS.index(scene.pattern)]
    return parts


def geometric_mean(values: list[Tensor]) -> Tensor:
    """Of positive scalars; its value is Python's power, which in a root's last bit may differ from torch's."""
    product = reduce(mul, values)
    root = product ** (1 / len(values))
    return root + (float(product.detach()) ** (1 / len(values)) - root.detach())
