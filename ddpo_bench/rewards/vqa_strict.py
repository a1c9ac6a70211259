"""Strict satisfaction (as in ddpo-pytorch): questions about a picture with their expected answers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.rewards.chat_client import NoAnswer
from ddpo_bench.rewards.checking import RewardError
from ddpo_bench.rewards.vision_questions import VisionModel, data_urls, json_form

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
BRIEFLY = "Answer in a word or two."


@register("reward", "vqa_strict")
@dataclass
class VQAStrict(VisionModel):
    """Share of the questions in a prompt's metadata that a vision-language model answers as expected."""

    score: Literal["share", "all"] = option("share", "share: of expected answers; all: 1 where every answer is, else 0")

    @property
    def label(self) -> str:
        """The model, and how its answers are counted."""
        model = self.model.rpartition("/")[2]
        return f"vqa_strict {model}{' all' if self.score == 'all' else ''}"

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Metadata: `questions` and `answers`, as many texts in each."""
        expected = [pairs(prompt, facts) for prompt, facts in zip(prompts, metadata, strict=True)]
        urls = data_urls(images, self.image_format)
        asked = [(url, f"{question} {BRIEFLY}") for url, own in zip(urls, expected, strict=True) for question, _ in own]
        given = iter(self.ask(asked, json_form("answer", "string"), text_of))
        answers = [[next(given) for _ in own] for own in expected]
        scores = [self.score_of(own, wanted) for own, wanted in zip(answers, expected, strict=True)]
        return RewardOutput(torch.tensor(scores, dtype=torch.float64), self.measured(answers))

    def score_of(self, answers: list[Any], expected: list[tuple[str, str]]) -> float:
        if any(isinstance(answer, NoAnswer) for answer in answers):
            return math.nan  # a share of the others would be another question's score
        right = [contains(answer["answer"], wanted) for answer, (_, wanted) in zip(answers, expected, strict=True)]
        return float(all(right)) if self.score == "all" else sum(right) / len(right)


def pairs(prompt: str, facts: Metadata) -> list[tuple[str, str]]:
    questions, answers = facts.get("questions"), facts.get("answers")
    if not (isinstance(questions, list) and isinstance(answers, list) and len(questions) == len(answers) > 0):
        wanted = "`questions` and `answers`, two lists of one length"
        raise RewardError(
            f"reward vqa_strict: the metadata of {prompt!r} must hold {wanted} (prompts: from_file, .jsonl)."
        )
    return [(str(question), str(answer)) for question, answer in zip(questions, answers, strict=True)]


def text_of(choice: dict[str, Any]) -> str:
    answer = json.loads(choice["message"]["content"])["answer"]
    if not isinstance(answer, str):
        raise NoAnswer(f"the answer must be a text, got {answer!r:.50}")
    return answer


def contains(answer: str, wanted: str) -> bool:
    """Whether an answer has the expected words in a row; case and punctuation do not matter, 3 is three."""
    return f" {' '.join(words(wanted))} " in f" {' '.join(words(answer))} "


def words(text: str) -> list[str]:
    return [str(NUMBERS.index(word)) if word in NUMBERS else word for word in re.findall(r"\w+", text.casefold())]
