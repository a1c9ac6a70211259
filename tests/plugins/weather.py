"""Prompts without a model's vocabulary: a kind of weather and a time of day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpo_bench.registry import register

KINDS, TIMES = ("rain", "fog", "snow", "sun", "wind", "hail"), ("dawn", "noon", "dusk", "night")


@register("prompts", "weather")
@dataclass
class Weather:
    """A kind of weather at a time of day: "rain at dusk"."""

    def __call__(self, rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
        kind, time = str(rng.choice(KINDS)), str(rng.choice(TIMES))
        return f"{kind} at {time}", {"kind": kind}
