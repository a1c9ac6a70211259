"""A vision-language model as the judge: a score as JSON, or P(yes) from the log-probs of its first token."""

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
from ddpo_bench.reward_bases.vision_questions import FIRST_TOKEN, VisionModel, data_urls, json_form

YES = 'Does this picture show "{prompt}"? Answer yes or no.'


@register("reward", "vlm_judge")
@dataclass
class VLMJudge(VisionModel):
    """What a vision-language model answers to a question about the picture, 0 to 1; by any OpenAI-compatible server."""

    question: str = option(YES, "what is asked of a picture; {prompt} becomes its prompt")
    answer: Literal["yes", "score"] = option(
        "yes", "yes: the probability of yes against no, from log-probs; score: a number from 0 to `highest`, as JSON"
    )
    highest: float = option(10.0, "the best score that the question allows, which becomes 1", above=0, maximum=1e6)

    @property
    def label(self) -> str:
        """The model, and the question unless it is the default."""
        asked = "" if self.question == YES else f" {self.question}"
        return f"vlm_judge {self.model.rpartition('/')[2]}{asked}".replace("/", ":")

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        urls = data_urls(images, self.image_format)
        asked = [(url, self.question.replace("{prompt}", prompt)) for url, prompt in zip(urls, prompts, strict=True)]
        if self.answer == "yes":
            answers = self.ask(asked, FIRST_TOKEN, probability_of_yes)
        else:
            answers = self.ask(asked, json_form("score", "number"), self.share_of_highest)
        scores = [math.nan if isinstance(answer, NoAnswer) else answer["answer"] for answer in answers]
        return RewardOutput(torch.tensor(scores, dtype=torch.float64), self.measured([[answer] for answer in answers]))

    def share_of_highest(self, choice: dict[str, Any]) -> float:
        score = json.loads(choice["message"]["content"])["score"]
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= self.highest:
            raise NoAnswer(f"the score must be a number from 0 to {self.highest:g}, got {score!r:.50}")
        return score / self.highest


def probability_of_yes(choice: dict[str, Any]) -> float:
    """P(yes) / (P(yes) + P(no)), of the first token."""
    found = {"yes": 0.0, "no": 0.0}
    for token in choice["logprobs"]["content"][0]["top_logprobs"]:
        word = token["token"].strip().lower()
        if word in found:
            found[word] += math.exp(token["logprob"])
    total = found["yes"] + found["no"]
    if not 0 < total < 1.1:  # a sum of probabilities, with rounding
        raise NoAnswer("neither yes nor no is among the likeliest first tokens")
    return found["yes"] / total
