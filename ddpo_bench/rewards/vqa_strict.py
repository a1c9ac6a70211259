"""Strict satisfaction (as in ddpo-pytorch): questions about a picture with their expected answers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.chat_client import NoAnswer
from ddpo_bench.reward_bases.metadata_questions import MetadataQuestions, words
from ddpo_bench.reward_bases.vision_questions import json_form

BRIEFLY = "Answer in a word or two."


@register("reward", "vqa_strict")
@dataclass
class VQAStrict(MetadataQuestions):
    """Share of the questions in a prompt's metadata that a vision-language model answers as expected."""

    score: Literal["share", "all"] = option("share", "share: of expected answers; all: 1 where every answer is, else 0")

    @property
    def label(self) -> str:
        """The model, and how its answers are counted."""
        model = self.model.rpartition("/")[2]
        return f"vqa_strict {model}{' all' if self.score == 'all' else ''}"

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Metadata: `questions` and `answers`, as many texts in each, or `vqa_list`, pairs of both."""
        expected = self.pairs_of(prompts, metadata)
        asked = [[f"{question} {BRIEFLY}" for question, _ in own] for own in expected]
        answers = self.answers(images, asked, json_form("answer", "string"), text_of)
        scores = [self.score_of(own, wanted) for own, wanted in zip(answers, expected, strict=True)]
        return RewardOutput(torch.tensor(scores, dtype=torch.float64), self.measured(answers))

    def score_of(self, answers: list[Any], expected: list[tuple[str, str]]) -> float:
        if any(isinstance(answer, NoAnswer) for answer in answers):
            return math.nan  # a share of the others would be another question's score
        right = [contains(answer["answer"], wanted) for answer, (_, wanted) in zip(answers, expected, strict=True)]
        return float(all(right)) if self.score == "all" else sum(right) / len(right)


def text_of(choice: dict[str, Any]) -> str:
    answer = json.loads(choice["message"]["content"])["answer"]
    if not isinstance(answer, str):
        raise NoAnswer(f"the answer must be a text, got {answer!r:.50}")
    return answer


def contains(answer: str, wanted: str) -> bool:
    """Whether an answer has the expected words in a row; case and punctuation do not matter, 3 is three."""
    return f" {' '.join(words(wanted))} " in f" {' '.join(words(answer))} "
