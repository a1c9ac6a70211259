"""Scene alignment: what is multiplied, on a verifier with known answers; and that the shipped verifier answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ddpo_bench.registry import get
from ddpo_bench.reward_bases.checking import RewardError, score


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a frog", 0.9 * 0.1),
        ("three frogs", 0.9 * 0.3),
        ("a cat and a frog", math.sqrt(0.4 * 0.9) * 0.2),
        ("a frog on a blue background", 0.9 * 0.1 * 0.8),
        ("four cats on a dotted background", 0.4 * 0.4 * 0.7),
        ("two frogs on a blue dotted background", 0.9 * 0.2 * 0.8 * 0.7),
        ("a dog", 0.0),
        ("a frog riding a bike", 0.9 * 0.1),
    ],
)
@pytest.mark.usefixtures("verifier")
def test_score_is_the_product_of_what_the_prompt_names(images: Tensor, prompt: str, expected: float) -> None:
    output = get("reward", "scene_alignment")()(images[:1], [prompt], [{}])
    assert output.scores.tolist() == pytest.approx([expected])


@pytest.mark.usefixtures("verifier")
def test_info_carries_the_parts_and_none_for_what_is_left_open(images: Tensor) -> None:
    prompts = ["three frogs on a blue background", "a cat"]
    info = get("reward", "scene_alignment")()(images[:2], prompts, [{}] * 2).info
    assert info["nouns"] == pytest.approx([0.9, 0.4])
    assert info["count"] == pytest.approx([0.3, 0.1])
    assert info["colour"] == [pytest.approx(0.8), None]
    assert info["pattern"] == [None, None]


def test_the_verifier_sees_the_whole_batch_once_in_float32(images: Tensor, verifier) -> None:
    get("reward", "scene_alignment")()(images.bfloat16(), ["a frog"] * 4, [{}] * 4)
    (seen,) = verifier.seen
    assert seen.dtype == torch.float32
    assert torch.equal(seen, images.bfloat16().float())


@pytest.mark.parametrize("prompt", ["a unicorn at sunset", "", "seven frogs", "2 frogs"])
@pytest.mark.usefixtures("verifier")
def test_a_prompt_that_cannot_be_judged_is_named_in_one_line(images: Tensor, prompt: str) -> None:
    with pytest.raises(RewardError) as error:
        get("reward", "scene_alignment")()(images[:2], ["a frog", prompt], [{}] * 2)
    assert repr(prompt) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_shipped_verifier_gives_probabilities(images: Tensor) -> None:
    prompts = ["a frog", "two cats", "a cat and an apple", "a dog on a red striped background"]
    images = torch.nn.functional.interpolate(images, size=(64, 64))
    output = score(get("reward", "scene_alignment")(), images, prompts, [{}] * 4)
    assert ((output.scores >= 0) & (output.scores <= 1)).all()
    parts = [p for values in output.info.values() for p in values if p is not None]
    assert len(parts) == 10  # 4 nouns, 4 counts, 1 colour, 1 pattern
    assert all(0 <= part <= 1 for part in parts)
