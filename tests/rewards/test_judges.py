"""Which rewards judge a run on its held-out prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from ddpo_bench.config import ConfigError, RunConfig, run_config
from ddpo_bench.reward_bases.checking import score
from ddpo_bench.reward_bases.judges import Seated, seated
from ddpo_bench.sweep.suite import load_suite

ALWAYS = {"jpeg_compressibility", "jpeg_incompressibility", "target_colour"}


def judged(prompts: list[str], *judges: object) -> dict[str, Seated]:
    config = run_config({"evaluation": {"judges": list(judges)}} if judges else {}, "test")
    return seated(config.evaluation.judges, prompts, [{}] * len(prompts))


def test_prompts_of_the_embedded_model_are_judged_by_every_shipped_reward() -> None:
    assert judged(["a dog", "two cats on a red background"]).keys() == ALWAYS | {"scene_alignment"}


@pytest.mark.parametrize("prompts", [["a dog", "an astronaut"], ["a dog", "seven dogs"]])
def test_one_prompt_beyond_the_verifier_leaves_scene_alignment_out(
    prompts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(prompts).keys() == ALWAYS
    assert not capsys.readouterr().err
    assert judged(prompts, "scene_alignment", "target_colour").keys() == {"target_colour"}
    assert f"evaluation.judges: scene_alignment cannot judge {prompts[1]!r}." in capsys.readouterr().err


@pytest.mark.usefixtures("verifier")
def test_every_judge_can_judge(images: Tensor) -> None:
    prompts = ["a frog", "two cats", "a cat and a frog", "a frog playing chess"]
    scores = {name: score(one.reward, images, prompts, [{}] * 4).scores for name, one in judged(prompts).items()}
    assert torch.equal(scores["jpeg_compressibility"], -scores["jpeg_incompressibility"])
    assert len(scores) == 4


def test_a_judge_has_options_and_may_score_the_first_images_alone() -> None:
    red = {"name": "target_colour", "colour": "red"}
    found = judged(["a dog"] * 8, "shipped", {"name": "target_colour", "samples": 3}, red | {"samples": 100})
    assert {name: one.samples for name, one in found.items() if name.startswith("target")} == {
        "target_colour": 3,
        "target_colour colour=red": 8,
    }
    assert len(found) == 5


def test_a_mistake_in_a_judge_is_told_with_its_place() -> None:
    wrong = ["jpeg", {"name": "target_colour", "colour": "rad", "samples": 2}, {"name": "target_colour", "samples": 0}]
    with pytest.raises(ConfigError) as raised:
        judged([], *wrong)
    first, second, third = raised.value.mistakes
    assert first.startswith("test: evaluation.judges[0]: unknown reward 'jpeg'. Known: ")
    assert first.endswith("Or write suite or shipped.")
    assert second.startswith("test: evaluation.judges[1]: colour: unknown colour 'rad'. Did you mean 'red'?")
    assert third.startswith("test: evaluation.judges[2].samples: must be at least 1")


def test_every_run_of_a_suite_is_judged_by_the_rewards_of_all_and_keeps_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    red = {"name": "target_colour", "colour": "red"}
    path.write_text(yaml.safe_dump({"matrix": {"reward": ["jpeg_compressibility", red]}, "seeds": [0]}))
    for cell in load_suite(path).cells:
        alone: RunConfig = run_config(cell.config.to_dict() | {"evaluation": {}}, "test")
        found = seated(cell.config.evaluation.judges, ["a boat"], [{}])
        assert found.keys() == ALWAYS | {"scene_alignment", "target_colour colour=red"}
        assert run_config(cell.config.to_dict(), "test").evaluation.judges[-1] == "shipped"
        assert cell.config.identity() == alone.identity()
