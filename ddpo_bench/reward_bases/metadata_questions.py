"""Questions about a picture with their right answers, which stand in the metadata of its prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddpo_bench.protocols import Metadata
from ddpo_bench.reward_bases.chat_client import Parse
from ddpo_bench.reward_bases.reward_error import RewardError
from ddpo_bench.reward_bases.vision_questions import VisionModel, data_urls

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WANTED = "`questions` and `answers`, two lists of one length, or GenEval 2's `vqa_list` (prompts: from_file, .jsonl)"
Pairs = list[tuple[str, str]]


@dataclass
class MetadataQuestions(VisionModel):
    """A reward that asks a vision-language model the questions in a prompt's metadata."""

    def prompt_mistake(self, prompt: str, metadata: Metadata) -> str | None:
        return None if pairs(metadata) else f"the metadata of {prompt!r} must hold {WANTED}."

    def pairs_of(self, prompts: list[str], metadata: list[Metadata]) -> list[Pairs]:
        """Questions and right answers of each image.

        Raises:
            RewardError: where a prompt has none.
        """
        for prompt, facts in zip(prompts, metadata, strict=True):
            if mistake := self.prompt_mistake(prompt, facts):
                raise RewardError(f"reward {self.label}: {mistake}")
        return [pairs(facts) for facts in metadata]

    def answers(
        self, images: Tensor, asked: list[list[str]], answered: Mapping[str, Any], parse: Parse
    ) -> list[list[Any]]:
        """Answers, or NoAnswer, to each image's own questions."""
        urls = data_urls(images, self.image_format)
        flat = [(url, question) for url, own in zip(urls, asked, strict=True) for question in own]
        given = iter(self.ask(flat, dict(answered), parse))
        return [[next(given) for _ in own] for own in asked]


def pairs(facts: Metadata) -> Pairs:
    """Questions and answers; none where the metadata does not hold them."""
    questions, answers = facts.get("questions"), facts.get("answers")
    if isinstance(questions, list) and isinstance(answers, list) and len(questions) == len(answers):
        return [(str(question), str(answer)) for question, answer in zip(questions, answers, strict=True)]
    listed = facts.get("vqa_list")
    if isinstance(listed, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in listed):
        return [(str(question), str(answer)) for question, answer in listed]
    return []


def words(text: str) -> list[str]:
    """In lower case and without punctuation; three is 3."""
    return [str(NUMBERS.index(word)) if word in NUMBERS else word for word in re.findall(r"\w+", text.casefold())]
