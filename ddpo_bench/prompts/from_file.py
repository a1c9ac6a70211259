"""Prompts from the user's own text file."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field

import numpy as np

from ddpo_bench.options import option
from ddpo_bench.prompts.words import file_words, pick
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register


@register("prompts", "from_file")
@dataclass
class FromFile:
    """A line of a text file, one prompt a line; blank lines are skipped."""

    path: str = option(MISSING, "text file (UTF-8), relative to the current directory")
    lines: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lines = file_words("path", self.path)

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        return pick(rng, self.lines), {}
