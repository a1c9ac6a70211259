"""Held-out prompts: a hash of their text decides, in every run alike."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from ddpo_bench.commands.sample import draw_prompts
from ddpo_bench.config import ConfigError, run_config
from ddpo_bench.held_out import TooFewPrompts, is_held_out, split

WORDS = [f"prompt {number}" for number in range(1000)]


def draw(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    return WORDS[int(min(999, rng.exponential(200)))], {}


def test_a_fifth_is_held_out_and_stays_so() -> None:
    assert sum(map(is_held_out, WORDS)) == pytest.approx(200, abs=40)  # standard deviation 13
    assert is_held_out("rain")  # SHA-256, so the same in every version and on every machine
    assert not is_held_out("the sea")


def test_both_sides_keep_the_distribution_of_the_function() -> None:
    rng = np.random.default_rng(0)
    whole = Counter(draw(rng)[0] for _ in range(40_000))
    for side, held_out in zip(split(draw, "held_out"), (False, True), strict=True):
        found = Counter(side(rng)[0] for _ in range(4_000))
        belongs = {word: count for word, count in whole.items() if is_held_out(word) is held_out}
        assert set(found) <= {word for word in WORDS if is_held_out(word) is held_out}
        half = sorted(belongs, key=belongs.__getitem__)[len(belongs) // 2 :]
        expected = sum(belongs[word] for word in half) / sum(belongs.values())
        assert sum(found[word] for word in half) / 4_000 == pytest.approx(expected, abs=0.04)


def test_on_the_prompts_of_training_both_draw_all() -> None:
    training, evaluation = split(draw, "training")
    assert training is evaluation is draw


def test_what_the_policy_sees_of_a_prompt_decides() -> None:
    def long(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
        prompt, metadata = draw(rng)
        return f"{prompt}, with detail {rng.integers(1000)}", metadata

    def seen(prompt: str) -> str:
        return prompt.partition(",")[0]

    training, evaluation = split(long, "held_out", seen)
    rng = np.random.default_rng(0)
    trained, evaluated = ({seen(side(rng)[0]) for _ in range(300)} for side in (training, evaluation))
    assert not trained & evaluated


@pytest.mark.parametrize(
    ("words", "which"),
    [
        (["the sea", "a castle at night"], "none of 10,000 prompts drawn (2 different ones) is held out"),
        (["rain"], "all of 10,000 prompts drawn (1 different ones) are held out"),
    ],
)
def test_a_side_without_prompts_is_one_line_before_any_training(tmp_path: Any, words: list[str], which: str) -> None:
    (tmp_path / "few.txt").write_text("\n".join(words))
    data = {"prompts": {"name": "from_file", "path": str(tmp_path / "few.txt")}}
    with pytest.raises(ConfigError) as error:
        run_config(data, "mine.yaml")
    (line,) = error.value.mistakes
    assert line.startswith(f"mine.yaml: prompts: {which} for evaluation, as")
    assert line.endswith("Add prompts, or set evaluation.prompts: training.")
    run_config(data | {"evaluation": {"prompts": "training"}}, "mine.yaml")


def test_pictures_show_the_prompts_of_evaluation() -> None:
    assert all(map(is_held_out, draw_prompts(run_config({}, "defaults"), seed=0)))
    training = draw_prompts(run_config({"evaluation": {"prompts": "training"}}, "defaults"), seed=0)
    assert not all(map(is_held_out, training))


def test_a_function_that_runs_dry_later_ends_the_run_with_that_line() -> None:
    _, evaluation = split(lambda rng: ("the sea", {}), "held_out")
    with pytest.raises(TooFewPrompts, match="none of 10,000 prompts drawn"):
        evaluation(np.random.default_rng(0))
