"""The user's own reward function: found, called, and every mistake in naming it told in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddpo_bench.config import choose
from ddpo_bench.registry import get
from ddpo_bench.reward_bases.checking import RewardError, score

MODULE = """
import numpy as np
LIMIT = 3
def brightness(images, prompts, metadata): return images.mean(dim=(1, 2, 3))
def lengths(images, prompts, metadata): return np.array([len(prompt) for prompt in prompts])
def detailed(images, prompts, metadata): return [m["weight"] for m in metadata], {"prompt": prompts}
def pair(images, prompts, metadata): return (1.5, 2.5)
def forgetful(images, prompts, metadata): pass
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `own_rewards` in the current directory only."""
    (tmp_path / "own_rewards.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needy.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    for name in ("own_rewards", "broken", "needy"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_scores_of_any_number_type_become_float64(images: Tensor) -> None:
    prompts = ["a", "bb", "ccc", "dddd"]
    lengths = score(get("reward", "python")("own_rewards:lengths"), images, prompts, [{}] * 4).scores
    assert lengths.dtype == torch.float64
    assert lengths.tolist() == [1, 2, 3, 4]
    brightness = score(get("reward", "python")("own_rewards:brightness"), images, prompts, [{}] * 4).scores
    torch.testing.assert_close(brightness, images.double().mean(dim=(1, 2, 3)), rtol=1e-6, atol=0)


def test_scores_and_info_reach_the_output(images: Tensor) -> None:
    metadata = [{"weight": w} for w in (0.1, 0.2, 0.3, 0.4)]
    output = score(get("reward", "python")("own_rewards:detailed"), images, list("abcd"), metadata)
    assert output.scores.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert output.info == {"prompt": ["a", "b", "c", "d"]}


def test_a_tuple_of_two_scores_is_not_taken_for_scores_and_info(images: Tensor) -> None:
    assert score(get("reward", "python")("own_rewards:pair"), images[:2], ["", ""], [{}] * 2).scores.tolist() == [
        1.5,
        2.5,
    ]


def test_a_function_that_returns_nothing_is_named(images: Tensor) -> None:
    with pytest.raises(RewardError, match=r"^reward own_rewards:forgetful: returned NoneType"):
        score(get("reward", "python")("own_rewards:forgetful"), images, [""] * 4, [{}] * 4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("own_rewards", "write module:function"),
        (":brightness", "write module:function"),
        (".own_rewards:brightness", "write module:function"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("own_rewards.py:brightness", "write a.b for the file a/b.py"),
        ("own_rewards:brightnes", "Did you mean 'brightness'?"),
        ("own_rewards:LIMIT", "'own_rewards:LIMIT' is of type int, not a function"),
        ("broken:f", "module 'broken' cannot be imported: SyntaxError: invalid syntax (broken.py, line 1)."),
        ("needy:f", "module 'needy' cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
    ],
)
def test_a_wrong_function_is_one_clear_line(function: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^function: ") as error:
        get("reward", "python")(function)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_short_form_in_a_configuration_is_understood(images: Tensor) -> None:
    mistakes: list[str] = []
    reward = choose("reward", "python:own_rewards:brightness", "reward", mistakes).build()
    assert torch.equal(reward(images, [""] * 4, [{}] * 4).scores, images.mean(dim=(1, 2, 3)))
    assert choose("reward", "python:own_rewards:bright", "reward", mistakes) is None
    assert len(mistakes) == 1
    assert mistakes[0].startswith("reward: function: unknown function of module own_rewards 'bright'. Did you mean")


def test_the_search_path_is_left_as_it_was() -> None:
    before = list(sys.path)
    get("reward", "python")("own_rewards:brightness")
    with pytest.raises(ValueError, match="no module"):
        get("reward", "python")("no_such_module:f")
    assert sys.path == before
