"""Which rewards judge a run on its held-out prompts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddpo_bench.rewards.checking import score
from ddpo_bench.rewards.judges import judges

ALWAYS = {"jpeg_compressibility", "jpeg_incompressibility", "target_colour"}


def test_prompts_of_the_embedded_model_are_judged_by_every_shipped_reward() -> None:
    assert judges(["a dog", "two cats on a red background"]).keys() == ALWAYS | {"scene_alignment"}


@pytest.mark.parametrize("prompts", [["a dog", "an astronaut"], ["a dog", "seven dogs"]])
def test_one_prompt_beyond_the_verifier_leaves_scene_alignment_out(prompts: list[str]) -> None:
    assert judges(prompts).keys() == ALWAYS


@pytest.mark.usefixtures("verifier")
def test_every_judge_can_judge(images: Tensor) -> None:
    prompts = ["a frog", "two cats", "a cat and a frog", "a frog playing chess"]
    scores = {name: score(reward, images, prompts, [{}] * 4).scores for name, reward in judges(prompts).items()}
    assert torch.equal(scores["jpeg_compressibility"], -scores["jpeg_incompressibility"])
    assert len(scores) == 4
