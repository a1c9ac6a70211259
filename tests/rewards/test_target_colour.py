"""The target-colour reward against its formula in NumPy, and its range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpo_bench.embedded.scenes import COLOURS
from ddpo_bench.registry import get


def filled(colour: str) -> Tensor:
    return (torch.tensor(COLOURS[colour]) / 255).view(1, 3, 1, 1).expand(1, 3, 24, 40)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_picture_of_the_colour_scores_one_and_every_other_colour_less(colour: str) -> None:
    reward = get("reward", "target_colour")(colour=colour)
    scores = {other: float(reward(filled(other), [""], [{}]).scores) for other in COLOURS}
    assert scores.pop(colour) == pytest.approx(1.0)
    assert max(scores.values()) < 0.95


def test_score_is_the_mean_of_a_gaussian_of_rgb_distance(images: Tensor) -> None:
    scores = get("reward", "target_colour")(colour="pink")(images, [""] * 4, [{}] * 4).scores
    distance = np.linalg.norm(images.numpy().transpose(0, 2, 3, 1) - np.array(COLOURS["pink"]) / 255, axis=-1)
    np.testing.assert_allclose(scores.numpy(), np.exp(-8 * distance**2).mean(axis=(1, 2)), rtol=1e-5)


def test_more_of_the_colour_scores_more(images: Tensor) -> None:
    reward = get("reward", "target_colour")()
    painted = images[:1].clone()
    scores = []
    for width in (0, 10, 20, 40):
        painted[..., :width] = filled("blue")[..., :width]
        scores.append(float(reward(painted, [""], [{}]).scores))
    assert scores == sorted(set(scores))


def test_an_unknown_colour_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^colour: unknown colour 'bleu'\. Did you mean 'blue'\? Known: blue, "):
        get("reward", "target_colour")(colour="bleu")
