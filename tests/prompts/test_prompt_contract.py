"""What every prompt function promises, shipped or not: this covers a new one the moment it is registered."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from every_plugin import make

from ddpo_bench.held_out import split
from ddpo_bench.registry import names
from ddpo_bench.training.rollout import draw_prompts


@pytest.fixture(params=names("prompts"))
def prompts(request: pytest.FixtureRequest, user_files) -> Any:
    return make("prompts", request.param)


def draw(prompts: Any, seed: int, count: int = 50) -> list[tuple[str, dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    return [prompts(rng) for _ in range(count)]


def test_a_seed_decides_the_prompts(prompts: Any) -> None:
    assert draw(prompts, seed=3) == draw(prompts, seed=3)
    assert draw(prompts, seed=3) != draw(prompts, seed=4)


def test_prompts_are_clean_lines_with_metadata_that_json_can_hold(prompts: Any) -> None:
    for prompt, metadata in draw(prompts, seed=0):
        assert prompt == " ".join(prompt.split())
        assert prompt
        assert json.loads(json.dumps(metadata)) == metadata


def test_only_the_given_generator_is_drawn_from(prompts: Any) -> None:
    before = np.random.get_state()[1].copy()
    draw(prompts, seed=0)
    assert (np.random.get_state()[1] == before).all()


def texts(function: Any, seed: int, count: int = 60) -> set[str]:
    return set(draw_prompts(function, np.random.default_rng(seed), count, repeats=1)[0])


def test_training_never_draws_a_prompt_that_evaluation_does(prompts: Any) -> None:
    training, evaluation = split(prompts, "held_out")
    trained = set().union(*(texts(training, seed) for seed in range(12)))
    evaluated = set().union(*(texts(evaluation, seed) for seed in range(12)))
    assert trained
    assert evaluated
    assert not trained & evaluated
