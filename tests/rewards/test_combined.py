"""Several rewards as one: the rule, the normalisation, its state, and mistakes at their places in the file."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from every_plugin import make
from followed_page import Page
from torch import Tensor

from ddpo_bench.config import ConfigError, RunConfig, Scoring, run_config
from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.rewards.combined import Combined
from ddpo_bench.training.scoring import Scores, scored_by_all

BLUE, RED = {"reward": "target_colour"}, {"reward": {"name": "target_colour", "colour": "red"}}
SIZE = {"reward": "jpeg_compressibility"}
PROMPTS = ["a frog", "a cat", "a frog", "a cat"]


def config_of(*parts: dict[str, Any], **changes: Any) -> RunConfig:
    rule = {"rule": changes.pop("rule")} if "rule" in changes else {}
    return run_config({"reward": {"name": "combined", "parts": list(parts), **rule}, **changes}, "test")


def combined(*parts: dict[str, Any], **changes: Any) -> Combined:
    made: Combined = config_of(*parts, **changes).reward.build()
    made.start(torch.device("cpu"))
    return made


def raw(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    both = [make("reward", "target_colour", colour=colour)(images, PROMPTS, [{}] * 4) for colour in ("blue", "red")]
    return both[0].scores.numpy(), both[1].scores.numpy()


def scores(reward: Combined, images: Tensor, training: bool = True) -> np.ndarray:
    own = Scores(reward, Scoring(), None, is_apart=False)
    own.add(images, PROMPTS, [{}] * 4)
    return scored_by_all(reward, own, PROMPTS, training).scores.numpy()


@pytest.mark.parametrize("rule", ["sum", "min", "product"])
def test_the_rule_is_that_of_arithmetic(rule: str, images: Tensor) -> None:
    (blue, red), weight = raw(images), 1 if rule == "product" else 0.5
    expected = {"sum": blue / 2 + red, "min": np.minimum(blue / 2, red), "product": blue * red}[rule]
    reward = combined(BLUE | {"weight": weight}, RED, rule=rule)
    np.testing.assert_allclose(scores(reward, images), expected, rtol=1e-15)
    info = score(reward, images, PROMPTS, [{}] * 4).info
    assert info["target_colour"] == blue.tolist()
    assert info["target_colour colour=red"] == red.tolist()


def test_running_statistics_are_those_of_all_samples_so_far_and_resume_bit_for_bit(images: Tensor) -> None:
    reward, resumed = (combined(BLUE | {"normalise": "running"}, RED | {"weight": 2}) for _ in range(2))
    epochs = [images, images.flip(1) * 0.7, images.square()]
    for n, epoch in enumerate(epochs):
        seen = np.concatenate([raw(each)[0] for each in epochs[: n + 1]])
        blue, red = raw(epoch)
        found = scores(reward, epoch)
        np.testing.assert_allclose(found, (blue - seen.mean()) / (seen.std() + 1e-6) + 2 * red, rtol=1e-12)
        np.testing.assert_array_equal(scores(resumed, epoch), found)
        state, resumed = resumed.state_dict(), combined(BLUE | {"normalise": "running"}, RED | {"weight": 2})
        resumed.load_state_dict(state)


def test_group_statistics_are_those_of_the_prompt_in_the_epoch(images: Tensor) -> None:
    reward = combined(BLUE | {"normalise": "group"}, samples_per_prompt=2)
    blue, expected = raw(images)[0], np.zeros(4)
    for group in ([0, 2], [1, 3]):
        expected[group] = (blue[group] - blue[group].mean()) / (blue[group].std() + 1e-6)
    np.testing.assert_allclose(scores(reward, images), expected, rtol=1e-12)


@pytest.mark.parametrize("normalise", ["running", "group"])
def test_evaluations_stay_on_the_scale_of_the_first_one(normalise: str, images: Tensor) -> None:
    reward = combined(BLUE | {"normalise": normalise}, samples_per_prompt=2)
    first, later = raw(images)[0], raw(images * 0.5)[0]
    for epoch in (images, images * 0.5):
        found = scores(reward, epoch, training=False)
        scores(reward, epoch)
        np.testing.assert_allclose(found, (raw(epoch)[0] - first.mean()) / (first.std() + 1e-6), rtol=1e-9)
    assert later.mean() != first.mean()


def test_equal_scores_are_normalised_to_exactly_0(images: Tensor) -> None:
    same = images[:1].expand(4, -1, -1, -1)
    for normalise in ("running", "group"):
        assert not scores(combined(BLUE | {"normalise": normalise}, samples_per_prompt=2), same).any()


@pytest.mark.parametrize("normalise", ["none", "running", "group"])
def test_an_image_that_one_part_cannot_score_has_no_score_and_moves_no_statistics(
    normalise: str, user_files: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sometimes", raising=False)
    (user_files / "sometimes.py").write_text(
        "def scores(i, p, m):\n"
        "    found = i.double().mean(dim=(1, 2, 3))\n"
        "    found[1] = float('nan')\n"
        "    return found, {'failure': ['', 'no answer', '', '']}\n"
    )
    parts = {"reward": "python:sometimes:scores", "normalise": normalise}, BLUE
    reward = combined(*parts, samples_per_prompt=2)
    output = score(reward, images, PROMPTS, [{}] * 4)
    assert output.info["failure"] == ["", "sometimes:scores: no answer", "", ""]
    found = scores(reward, images)
    assert [math.isnan(one) for one in found] == [False, True, False, False]
    assert scores(reward, images, training=False)[0] == pytest.approx(found[0]) or normalise != "none"
    if normalise == "running":
        assert reward.scales[0].running.count == 3


def test_a_product_of_negative_scores_is_one_line(images: Tensor) -> None:
    with pytest.raises(RewardError, match=r"^reward combined product.*; jpeg_compressibility gave -.* for 'a"):
        score(combined(BLUE, SIZE, rule="product"), images, PROMPTS, [{}] * 4)


@pytest.mark.parametrize(
    ("parts", "rule", "line"),
    [
        ([], "sum", "reward: parts: is empty"),
        ([BLUE, {"reward": {"name": "target_colour", "colour": "rde"}}], "sum",
         "reward.parts[1].reward: colour: unknown colour 'rde'. Did you mean 'red'?"),
        ([{"reward": "pikscore"}], "sum", "reward.parts[0].reward: unknown reward 'pikscore'. Did you mean"),
        ([BLUE | {"wieght": 1}], "sum", "reward.parts[0].wieght: unknown key 'wieght'. Did you mean 'weight'?"),
        ([{"weight": 1}], "sum", "reward.parts[0].reward: is required."),
        ([BLUE | {"weight": 0}], "sum", "reward: parts[0].weight: is 0"),
        ([BLUE, BLUE], "sum", "reward: parts[1].reward: target_colour is there already."),
        ([{"reward": {"name": "combined", "parts": [BLUE]}}], "sum", "reward: parts[0].reward: combined cannot be"),
        ([BLUE | {"weight": -1}], "min", "reward: parts[0].weight: must be above 0 for rule: min"),
        ([BLUE | {"weight": 2}], "product", "reward: parts[0].weight: a product takes scores as they are."),
        ([BLUE | {"normalise": "running"}], "product", "reward: parts[0].normalise: a product takes"),
        ([BLUE | {"normalise": "group"}], "sum", "samples_per_prompt: normalise: group compares"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_at_its_place(parts: list[Any], rule: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(*parts, rule=rule)
    assert str(refused.value).startswith(f"test: {line}")
    assert "\n" not in str(refused.value)


def test_a_gradient_flows_unless_a_part_has_none_or_compares_samples() -> None:
    assert combined(BLUE | {"normalise": "running"}).differentiable
    assert not combined(BLUE, SIZE).differentiable
    assert not combined(BLUE | {"normalise": "group"}, samples_per_prompt=2).differentiable


def test_a_configuration_is_read_back_and_the_files_of_parts_count_by_their_content(user_files: Path) -> None:
    part = {"reward": "python:example_reward:brightness", "normalise": "running"}
    config = config_of(part, BLUE)
    assert run_config(config.to_dict(), "again") == config
    assert "reward.parts[0].reward.module" in config.inputs()
    assert config.identity() != config_of(part | {"weight": 2}, BLUE).identity()
    assert config.identity() != config_of(part, RED).identity()
    before = config.identity()
    (user_files / "example_reward.py").write_text("def brightness(i, p, m): return -i.double().mean(dim=(1, 2, 3))\n")
    assert config_of(part, BLUE).identity() != before


def test_the_example_of_the_page_is_a_configuration() -> None:
    section = Page("rewards.md", "").text.partition("## Several rewards as one")[2]
    config = run_config(yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0]), "test")
    assert config.reward.label == "combined scene_alignment running + 0.5 target_colour colour=red running"
