"""Soft-TIFA, the measure of GenEval 2: how probable a vision-language model finds the right answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.chat_client import NoAnswer
from ddpo_bench.reward_bases.metadata_questions import MetadataQuestions, pairs, words
from ddpo_bench.reward_bases.vision_questions import FIRST_TOKEN

BRIEFLY = "Answer in one word."


@register("reward", "vqa_soft")
@dataclass
class VQASoft(MetadataQuestions):
    """Mean probability, 0 to 1, that a vision-language model gives the right answers to a prompt's questions.

    Kamath et al. (2025), GenEval 2.  From the 20 likeliest first tokens: a right answer that is not among them counts
    with the probability of the last of them, which is as much as it can have.
    """

    mean: Literal["geometric", "arithmetic"] = option(
        "geometric", "over a prompt's questions; geometric: one wrong part spoils the score; arithmetic: partial credit"
    )

    @property
    def label(self) -> str:
        """The model, and the mean unless it is the default."""
        mean = "" if self.mean == "geometric" else f" {self.mean}"
        return f"vqa_soft {self.model.rpartition('/')[2]}{mean}"

    def prompt_mistake(self, prompt: str, metadata: Metadata) -> str | None:
        """Without questions, or with an answer that one token cannot hold."""
        long = [answer for _, answer in pairs(metadata) if len(words(answer)) != 1]
        if long:
            return f"the metadata of {prompt!r} has the answer {long[0]!r}; vqa_soft needs answers of one word."
        return super().prompt_mistake(prompt, metadata)

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Metadata: `questions` and `answers`, as many texts in each, or `vqa_list`, pairs of both."""
        expected = self.pairs_of(prompts, metadata)
        asked = [[f"{question} {BRIEFLY}" for question, _ in own] for own in expected]
        answers = self.answers(images, asked, FIRST_TOKEN, first_words)
        scores = [self.score_of(given, own) for given, own in zip(answers, expected, strict=True)]
        return RewardOutput(torch.tensor(scores, dtype=torch.float64), self.measured(answers))

    def score_of(self, answers: list[Any], expected: list[tuple[str, str]]) -> float:
        if any(isinstance(answer, NoAnswer) for answer in answers):
            return math.nan  # the mean of the others would be another prompt's score
        found = [probability(answer["answer"], wanted) for answer, (_, wanted) in zip(answers, expected, strict=True)]
        if self.mean == "arithmetic":
            return math.fsum(found) / len(found)
        return math.exp(math.fsum(map(math.log, found)) / len(found)) if all(found) else 0.0


def probability(first: list[tuple[str, float]], wanted: str) -> float:
    """Of an answer, among the likeliest first tokens with their probabilities."""
    matching = [share for token, share in first if words(token) == words(wanted)]
    return min(1.0, math.fsum(matching)) if matching else min(share for _, share in first)


def first_words(choice: dict[str, Any]) -> list[tuple[str, float]]:
    top = choice["logprobs"]["content"][0]["top_logprobs"]
    found = [(str(token["token"]), math.exp(token["logprob"])) for token in top]
    if not 0 < math.fsum(share for _, share in found) < 1.1:  # a sum of probabilities, with rounding
        raise NoAnswer("the log-probs of the first token are not those of probabilities")
    return found
