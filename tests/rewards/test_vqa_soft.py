"""Soft-TIFA against its formula, from log-probs that a test's server gives."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import vlm_server
from every_plugin import make, options_for
from torch import Tensor

from ddpo_bench.config import run_config
from ddpo_bench.preflight.checks import reward_mistakes
from ddpo_bench.reward_bases.reward_error import RewardError

BRIGHT = 0.7
QUESTIONS = {"vqa_list": [["Is it bright?", "Yes"], ["Is it dark?", "no"], ["How many cats are there?", "three"]]}
COUNTS = {" 3": 0.4, "three": 0.2, "Three": 0.1, "four": 0.2, "33": 0.05}


@pytest.fixture
def bright(user_files: Path) -> Tensor:
    vlm_server.server().next.clear()
    return torch.full((1, 3, 8, 8), BRIGHT)


def top(tokens: dict[str, float]) -> dict[str, Any]:
    listed = [{"token": token, "logprob": math.log(share)} for token, share in tokens.items()]
    return vlm_server.chat({"logprobs": {"content": [{"top_logprobs": listed}]}})


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_the_score_is_the_mean_probability_of_the_right_answers(mean: str, bright: Tensor) -> None:
    """Three as a word and as a digit; the server says yes with the picture's brightness."""
    yes, no = {"Yes": BRIGHT, "No": 1 - BRIGHT}, {"No": 1 - BRIGHT, "Yes": BRIGHT}
    vlm_server.server().next[:] = [
        partial(vlm_server.Handler.reply, status=200, data=top(one)) for one in (yes, no, COUNTS)
    ]
    (score,) = make("reward", "vqa_soft", mean=mean, concurrency=1)(bright, ["cats"], [QUESTIONS]).scores.tolist()
    expected = [BRIGHT, 1 - BRIGHT, 0.4 + 0.2 + 0.1]
    assert score == pytest.approx(sum(expected) / 3 if mean == "arithmetic" else math.prod(expected) ** (1 / 3))
    asked = vlm_server.server().asked[-1]
    assert asked["messages"][0]["content"][1]["text"] == "How many cats are there? Answer in one word."


def test_an_answer_that_is_not_listed_is_as_likely_as_the_last_that_is(bright: Tensor) -> None:
    facts = {"questions": ["What is it?"], "answers": ["frog"]}
    vlm_server.server().next[:] = [lambda handler: handler.reply(200, top(COUNTS))]
    assert make("reward", "vqa_soft")(bright, ["a frog"], [facts]).scores.item() == pytest.approx(0.05)


def test_a_question_without_an_answer_leaves_the_image_without_a_score(bright: Tensor) -> None:
    vlm_server.server().next[:] = [lambda handler: handler.reply(200, top({"Yes": 0.9, "No": 0.9}))]
    output = make("reward", "vqa_soft", attempts=1, concurrency=1)(bright, ["cats"], [QUESTIONS])
    assert math.isnan(output.scores.item())
    assert output.info["failure"] == ["the log-probs of the first token are not those of probabilities"]


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        (
            "vqa_strict",
            '{"prompt": "a frog", "questions": ["What is it?"]}',
            "'a frog' must hold `questions` and `answers`",
        ),
        ("vqa_soft", '{"prompt": "a frog", "vqa_list": []}', "'a frog' must hold `questions` and `answers`"),
        (
            "vqa_soft",
            '{"prompt": "a frog", "vqa_list": [["What?", "a frog"]]}',
            "has the answer 'a frog'; vqa_soft needs",
        ),
    ],
)
def test_prompts_without_questions_are_told_before_the_start(
    name: str, line: str, words: str, user_files: Path, images: Tensor
) -> None:
    Path("prompts.jsonl").write_text(f"{line}\n")
    prompts = {"name": "from_file", "path": "prompts.jsonl"}
    reward = {"name": name} | options_for("reward", name)
    config = run_config({"prompts": prompts, "reward": reward, "evaluation": {"prompts": "training"}}, "test")
    (mistake,) = reward_mistakes([("suite.yaml: reward", config)])
    assert mistake.startswith(f"suite.yaml: reward: reward {name} vlm: the metadata of 'a frog' ")
    assert words in mistake
    with pytest.raises(RewardError, match=rf"^reward {name} vlm: the metadata of 'a frog'"):
        make("reward", name)(images[:1], ["a frog"], [{}])
