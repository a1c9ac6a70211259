"""The rewards that every run is judged under, whatever it was trained on, so that over-optimisation shows."""

from __future__ import annotations

from ddpo_bench.protocols import Reward
from ddpo_bench.registry import get
from ddpo_bench.rewards.scene_alignment import requested_scene

ANY_PROMPT = ("jpeg_compressibility", "jpeg_incompressibility", "target_colour")


def judges(prompts: list[str]) -> dict[str, Reward]:
    """Shipped rewards by name, with default options, that can judge images of all these prompts."""
    scenes = all(requested_scene(prompt) is not None for prompt in prompts)
    able = (*ANY_PROMPT, "scene_alignment") if scenes else ANY_PROMPT
    return {name: get("reward", name)() for name in able}
