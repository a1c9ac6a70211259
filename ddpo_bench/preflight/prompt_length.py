"""Prompts that are longer than what a policy reads, counted without loading a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ddpo_bench.config import RunConfig
from ddpo_bench.held_out import split

DRAWS = 256  # of either side


def length_lines(configs: Iterable[RunConfig]) -> Iterator[str]:
    """A line for each model and prompt function of which some prompts are too long."""
    said: dict[tuple[str, ...], None] = {}
    for config in configs:
        key = repr(config.policy), repr(config.prompts), config.evaluation.prompts
        if key in said:
            continue
        said[key] = None
        prompts = different_prompts(config)
        if long := config.policy.build().too_long(prompts):
            yield (
                f"{len(long)} of {len(prompts)} different prompts drawn from {config.prompts} are longer than what the "
                "text encoder reads; the model will not read their ends"
            )


def different_prompts(config: RunConfig) -> set[str]:
    rng = np.random.default_rng(0)
    return {side(rng)[0] for side in split(config.prompts.build(), config.evaluation.prompts) for _ in range(DRAWS)}
