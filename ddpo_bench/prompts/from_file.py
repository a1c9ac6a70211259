"""Prompts from the user's own files."""

from __future__ import annotations

import copy
from dataclasses import MISSING, dataclass, field

import numpy as np

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.held_out import PromptFunction
from ddpo_bench.options import option
from ddpo_bench.prompts.prompt_file import Entry, read_prompts
from ddpo_bench.prompts.words import file_inputs
from ddpo_bench.protocols import Metadata
from ddpo_bench.registry import register


@dataclass(frozen=True)
class Entries:
    """A prompt function that draws uniformly from a list."""

    entries: tuple[Entry, ...]

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        prompt, metadata = self.entries[int(rng.integers(len(self.entries)))]
        return prompt, copy.deepcopy(metadata)  # because a reward may change it


@register("prompts", "from_file")
@dataclass
class FromFile:
    """A prompt from a file: plain text with one per line, or .csv, .tsv or .jsonl with further columns as metadata."""

    path: str = option(MISSING, "path of the file (UTF-8), relative to the current directory")
    held_out: str | None = option(
        None, "path of a file with the prompts for evaluation; without it a fifth of `path` is held out"
    )
    draw: Entries = field(init=False, repr=False)
    own_sides: tuple[PromptFunction, PromptFunction] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        entries = read_prompts("path", self.path)
        self.draw, self.own_sides = Entries(entries), None
        if self.held_out is None:
            return
        held_out = read_prompts("held_out", self.held_out)
        excluded = {prompt for prompt, _ in held_out}
        training = tuple(entry for entry in entries if entry[0] not in excluded)
        if not training:
            raise ValueError(
                f"held_out: {self.held_out!r} holds all prompts of {self.path!r}; none are left to train on."
            )
        self.own_sides = Entries(training), Entries(held_out)

    def __call__(self, rng: np.random.Generator) -> tuple[str, Metadata]:
        return self.draw(rng)

    def sides(self) -> tuple[PromptFunction, PromptFunction] | None:
        """The split by a second file, where there is one; prompts in both files are held out."""
        return self.own_sides

    def inputs(self) -> Inputs:
        return file_inputs(path=self.path, held_out=self.held_out)
