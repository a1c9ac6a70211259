"""The text that a picture should show, and how much of it was read there: what rewards by OCR share."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import label
from ddpo_bench.reward_bases.reward_error import RewardError

QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”')


@dataclass
class WrittenText(Reward):
    """1 - edit distance / length of the text that a prompt quotes, as in Flow-GRPO (Liu et al. 2025)."""

    substring: bool = option(
        False, "a picture that shows the text anywhere scores 1, as in Flow-GRPO; hackable: more text costs nothing"
    )

    def prompt_mistake(self, prompt: str, metadata: Metadata) -> str | None:
        if not isinstance(metadata.get("text", ""), str):
            return f"the metadata `text` of {prompt!r} must be a text, got {metadata['text']!r}."
        if wanted_text(prompt, metadata):
            return None
        return f'{prompt!r} says no text in double quotes, and its metadata has no `text`. Write: a sign with "HELLO".'

    def read(self, images: Tensor) -> list[str]:
        """The text in each of the images [N, 3, H, W], in [0, 1]."""
        raise NotImplementedError

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Metadata: `text`, what the picture should show where that is not what the prompt quotes."""
        for prompt, facts in zip(prompts, metadata, strict=True):
            if mistake := self.prompt_mistake(prompt, facts):
                raise RewardError(f"reward {label('reward', self)}: {mistake}")
        wanted = [wanted_text(prompt, facts) for prompt, facts in zip(prompts, metadata, strict=True)]
        read = self.read(images)
        scores = [match(have, want, self.substring) for have, want in zip(read, wanted, strict=True)]
        exact = [float(compared(have) == want) for have, want in zip(read, wanted, strict=True)]
        return RewardOutput(torch.tensor(scores, dtype=torch.float64), {"read": read, "exact": exact})


def wanted_text(prompt: str, metadata: Metadata) -> str:
    """The metadata's `text`, or what the prompt quotes first, as it is compared; empty where there is neither."""
    quoted = QUOTED.search(prompt)
    return compared(metadata.get("text") or (quoted[1] or quoted[2] or "" if quoted else ""))


def compared(text: str) -> str:
    """Lower case and without white space, because neither counts."""
    return "".join(text.lower().split())


def match(read: str, wanted: str, substring: bool = False) -> float:
    """1 - min(distance, length) / length, 0 to 1.

    Args:
        read: what was read, as it stands.
        wanted: not empty, as `compared` returns it.
        substring: whether wanted text between other text counts 1.
    """
    have = compared(read)
    if substring and wanted in have:
        return 1.0
    return 1 - min(edit_distance(have, wanted), len(wanted)) / len(wanted)


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and replacements of a character that make one text of another (Levenshtein)."""
    above = list(range(len(second) + 1))
    for row, character in enumerate(first, start=1):
        current = [row]
        for column, other in enumerate(second, start=1):
            replaced = above[column - 1] + (character != other)
            current.append(min(replaced, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]
