"""What `score` accepts, converts and refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpo_bench.protocols import Reward, RewardOutput
from ddpo_bench.registry import get
from ddpo_bench.reward_bases.checking import RewardError, score

PROMPTS = ["a cat", "a dog", "a fox", "a bee"]


@dataclass
class Returns(Reward):
    """A reward that returns what it is told."""

    scores: Any
    info: Any = field(default_factory=dict)

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[dict[str, Any]]) -> RewardOutput:
        return RewardOutput(self.scores, self.info)


def scored(images: Tensor, scores: Any, info: Any = None) -> RewardOutput:
    return score(Returns(scores, {} if info is None else info), images, PROMPTS, [{}] * 4)


@pytest.mark.parametrize(
    "scores",
    [
        [1, 2, 3, 4],
        (1.0, 2.0, 3.0, 4.0),
        [torch.tensor(1), torch.tensor(2), torch.tensor(3), torch.tensor(4)],
        np.array([1, 2, 3, 4], dtype=np.int64),
        np.array([4, 3, 2, 1], dtype=np.float32)[::-1],
        torch.tensor([1, 2, 3, 4], dtype=torch.int8),
        torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.bfloat16),
        torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True),
        torch.tensor([1.0, 2.0, 3.0, 4.0]).to_sparse(),
        [torch.tensor(float(n), requires_grad=True) for n in (1, 2, 3, 4)],
        [Fraction(1), Decimal(2), np.float32(3), 4],
        range(1, 5),
    ],
)
@pytest.mark.filterwarnings("error")
def test_numbers_of_every_kind_become_a_float64_tensor(images: Tensor, scores: Any) -> None:
    result = scored(images, scores).scores
    assert result.dtype == torch.float64
    assert not result.requires_grad
    assert result.tolist() == [1, 2, 3, 4]


def test_integers_and_doubles_keep_every_digit(images: Tensor) -> None:
    large = [2**53 - 1, 2**24 + 1, -(2**40) - 1, 0]
    assert scored(images, large).scores.tolist() == large
    assert scored(images, torch.tensor(large)).scores.tolist() == large
    assert scored(images, [0.1, 0.2, 0.3, 1e-300]).scores.tolist() == [0.1, 0.2, 0.3, 1e-300]


def test_info_of_arrays_becomes_lists(images: Tensor) -> None:
    info = scored(images, [0.0] * 4, {"a": np.arange(4), "b": torch.arange(4), "c": tuple("wxyz")}).info
    assert info == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": ["w", "x", "y", "z"]}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0, 2.0], "shape [2] for 4 images"),
        (torch.zeros(4, 1), "shape [4, 1] for 4 images"),
        (1.0, "shape [] for 4 images"),
        ([], "shape [0] for 4 images"),
        ([0.0, float("nan"), float("inf"), 0.0], "2 of 4 scores are not finite, first nan for 'a dog'"),
        ([0.0, 0.0, 0.0, float("-inf")], "first -inf for 'a bee'"),
        (None, "NoneType"),
        (["1", "2", "3", "4"], "list that is not all real numbers"),
        ([1.0, None, 2.0, 3.0], "list that is not all real numbers"),
        ({"a": 1.0}, "dict that is not all real numbers"),
        (np.array(["a", "b", "c", "d"]), "ndarray that is not all real numbers"),
        ([10**400] * 4, "list that is not all real numbers"),
        (np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[0, 1, 0, 0]), "MaskedArray that is not all real numbers"),
        (torch.zeros(4, device="meta"), "Tensor that is not all real numbers"),
        (torch.zeros(4, dtype=torch.complex64), "Tensor that is not all real numbers"),
        (np.zeros(4, dtype=complex), "ndarray that is not all real numbers"),
    ],
)
def test_wrong_scores_are_one_line_that_names_the_reward(images: Tensor, scores: Any, message: str) -> None:
    with pytest.raises(RewardError, match=r"^reward Returns: ") as error:
        scored(images, scores)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"parts": [1, 2]}, "info 'parts' must have 4 entries, one an image; got 2"),
        ({"parts": torch.tensor(1.0)}, "got float"),
        ({"parts": "abcd"}, "got str"),
        ([1, 2, 3, 4], "info of type list"),
    ],
)
def test_wrong_info_is_one_line_that_names_the_entry(images: Tensor, info: Any, message: str) -> None:
    with pytest.raises(RewardError, match=r"^reward Returns: ") as error:
        scored(images, [0.0] * 4, info)
    assert message in str(error.value)


def test_a_bare_tensor_is_not_a_reward_output(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Returns, "__call__", lambda *given: torch.zeros(4))
    with pytest.raises(RewardError, match="returned Tensor, not a RewardOutput"):
        scored(images, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_are_refused_before_they_are_scored(images: Tensor, value: float) -> None:
    images[2, 0, 3, 5] = value
    with pytest.raises(RewardError, match=r"^reward jpeg_compressibility: the image of 'a fox' has NaN or infinite"):
        score(get("reward", "jpeg_compressibility")(), images, PROMPTS, [{}] * 4)


def test_the_line_names_the_registered_reward_and_its_options(images: Tensor) -> None:
    images[0] = float("nan")
    with pytest.raises(RewardError, match=r"^reward target_colour colour=red: "):
        score(get("reward", "target_colour")("red"), images, PROMPTS, [{}] * 4)


def test_an_image_may_stay_without_a_score_where_the_reward_says_why(
    images: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    nan = float("nan")
    output = scored(images, [1.0, nan, 2.0, nan], {"failure": ["", "server refused", "", "timed out"]})
    assert output.scores.isnan().tolist() == [False, True, False, True]
    line = "reward Returns: 2 of 4 images have no score, the first because: server refused"
    assert capsys.readouterr().err.strip() == line
    with pytest.raises(RewardError, match="1 of 4 scores are not finite, first nan for 'a bee'"):
        scored(images, [1.0, nan, 2.0, nan], {"failure": ["", "server refused", "", ""]})
    with pytest.raises(RewardError, match="info 'failure' names a reason for an image that has a score"):
        scored(images, [1.0, 0.0, 2.0, 3.0], {"failure": ["", "server refused", "", ""]})
