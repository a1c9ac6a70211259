"""What every reward promises, shipped or not: this covers a new one the moment it is registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from every_plugin import METADATA, make
from torch import Tensor

from ddpo_bench.protocols import Reward
from ddpo_bench.registry import get, names
from ddpo_bench.reward_bases.checking import score

PROMPTS = ['a frog, "A"', 'two cats, "B"', 'a cat and a frog, "C"', 'three frogs on a blue dotted background, "D E"']


def facts(reward: Reward) -> list[dict[str, Any]]:
    return [METADATA.get(type(reward).__name__, {})] * 4


@pytest.fixture(params=names("reward"))
def reward(request: pytest.FixtureRequest, user_files, verifier) -> Reward:
    made: Reward = make("reward", request.param)
    made.start(torch.device("cpu"))
    assert all(map(made.can_judge, PROMPTS, facts(made)))
    return made


def test_scores_are_one_finite_float64_an_image(reward: Reward, images: Tensor) -> None:
    output = reward(images, PROMPTS, facts(reward))
    assert output.scores.dtype == torch.float64
    assert output.scores.shape == (4,)
    assert torch.isfinite(output.scores).all()
    assert all(len(values) == 4 for values in output.info.values())


def test_checking_changes_nothing(reward: Reward, images: Tensor) -> None:
    assert torch.equal(
        score(reward, images, PROMPTS, facts(reward)).scores, reward(images, PROMPTS, facts(reward)).scores
    )


def test_an_image_scores_the_same_alone_as_in_a_batch(reward: Reward, images: Tensor) -> None:
    batch = reward(images, PROMPTS, facts(reward)).scores
    alone = torch.cat([reward(images[i : i + 1], [PROMPTS[i]], facts(reward)[:1]).scores for i in range(4)])
    torch.testing.assert_close(alone, batch, rtol=reward.tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_of_image_is_scored(reward: Reward, images: Tensor, dtype: torch.dtype) -> None:
    rounded = images.to(dtype)
    expected = reward(rounded.double(), PROMPTS, facts(reward)).scores
    torch.testing.assert_close(reward(rounded, PROMPTS, facts(reward)).scores, expected, rtol=2e-3, atol=0)


def test_images_are_left_alone_and_no_gradient_flows(reward: Reward, images: Tensor) -> None:
    tracked = images.clone().requires_grad_()
    assert not score(reward, tracked, PROMPTS, facts(reward)).scores.requires_grad
    assert torch.equal(tracked, images)


@pytest.mark.parametrize(
    "name", [name for name in names("reward") if get("reward", name).differentiable or name == "combined"]
)
def test_a_differentiable_reward_has_the_gradient_of_its_scores(name: str, images: Tensor) -> None:
    """Against the difference quotient in the direction of the gradient."""
    reward, still = make("reward", name), images.clone().requires_grad_()
    reward.start(torch.device("cpu"))
    (gradient,) = torch.autograd.grad(reward(still, PROMPTS, facts(reward)).scores.sum(), still)
    direction = gradient / gradient.norm()
    ahead, behind = (reward(images + side * 0.01 * direction, PROMPTS, facts(reward)).scores.sum() for side in (1, -1))
    assert gradient.isfinite().all()
    torch.testing.assert_close((ahead - behind) / 0.02, gradient.norm().double(), rtol=0.02, atol=1e-6)
