"""What an evaluation draws: held-out prompts, and samples for the diversity that cost nothing measured before them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddpo_bench.advantages.per_prompt import PerPrompt
from ddpo_bench.config import RunConfig
from ddpo_bench.held_out import is_held_out, split
from ddpo_bench.rewards.jpeg import jpeg_kilobytes
from ddpo_bench.training.evaluation import Evaluator, save_grid
from ddpo_bench.training.trainer import start_policy

MakeConfig = Callable[..., RunConfig]


def evaluator(config: RunConfig, folder: Path) -> Evaluator:
    _, draw = split(config.prompts.build(), config.evaluation.prompts)

    def pictures(images: Tensor, prompts: list[str], epoch: int) -> None:
        save_grid(images, prompts, folder, epoch)

    return Evaluator(
        config, *start_policy(config, torch.device("cpu")), draw, config.reward.build(), pictures, micro_batch=2
    )


@pytest.mark.parametrize(("samples", "distinct"), [(3, 2), (12, 4)])
def test_a_few_distinct_held_out_prompts_get_four_samples_each(
    tiny_run: MakeConfig, tmp_path: Path, samples: int, distinct: int
) -> None:
    one = evaluator(tiny_run(f"evaluation.samples={samples}"), tmp_path)
    _, _, held_out = one.sample(one.prompts, "evaluation")
    sets = one.samples_a_prompt(held_out)
    assert sets.shape == (min(distinct, len(set(one.prompts))), 4, 3, 16, 16)
    assert len({one.prompts[index] for index in one.repeated}) == len(sets)
    for index, of_one_prompt in zip(one.repeated, sets, strict=True):
        assert torch.equal(of_one_prompt[0], held_out[index])
        assert len({image.numpy().tobytes() for image in of_one_prompt}) == 4


def test_an_evaluation_repeats_itself_and_depends_on_the_seed(tiny_run: MakeConfig, tmp_path: Path) -> None:
    first = evaluator(tiny_run(), tmp_path).evaluate(0)
    again = evaluator(tiny_run(), tmp_path).evaluate(0)
    assert {key: value for key, value in again.items() if not key.startswith("seconds_")} == {
        key: value for key, value in first.items() if not key.startswith("seconds_")
    }
    other = evaluator(tiny_run("seed=1"), tmp_path).evaluate(0)
    assert 0 < other["eval/diversity"] != first["eval/diversity"]


def test_the_samples_for_diversity_leave_the_held_out_ones_as_they_were(tiny_run: MakeConfig, tmp_path: Path) -> None:
    one = evaluator(tiny_run(), tmp_path)
    _, before, held_out = one.sample(one.prompts, "evaluation")
    one.samples_a_prompt(held_out)
    _, after, _ = one.sample(one.prompts, "evaluation")
    assert torch.equal(before.latents, after.latents)


def test_an_evaluation_draws_held_out_prompts_that_follow_from_the_seed_alone(
    tiny_run: MakeConfig, tmp_path: Path
) -> None:
    few = evaluator(tiny_run("evaluation.samples=3"), tmp_path).prompts
    changes = ("evaluation.samples=12", "epochs=50", "micro_batch=1", "samples_per_epoch=8", "sampler.steps=3")
    many = evaluator(tiny_run(*changes), tmp_path).prompts
    assert many[:3] == few
    assert all(map(is_held_out, many))
    assert not all(map(is_held_out, evaluator(tiny_run("evaluation.prompts=training"), tmp_path).prompts))


def test_a_whole_run_draws_no_held_out_prompt_in_training(tiny_run: MakeConfig, tmp_path: Path) -> None:
    from ddpo_bench.training.trainer import train

    drawn: list[str] = []
    config = tiny_run("epochs=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PerPrompt, "update", lambda self, prompts, rewards: drawn.extend(prompts) or rewards.float())
        train(config, tmp_path)
    assert len(drawn) == 8
    assert not any(map(is_held_out, drawn))
    assert all(map(is_held_out, json.loads((tmp_path / "samples" / "index.json").read_text())["prompts"]))


def test_a_sampled_judge_scores_the_first_images(tiny_run: MakeConfig, tmp_path: Path) -> None:
    judge = {"name": "jpeg_incompressibility", "samples": 2}
    one = evaluator(tiny_run(evaluation={"samples": 4, "judges": [judge]}), tmp_path)
    row = one.evaluate(0)
    _, _, images = one.sample(one.prompts, "evaluation")
    sizes = jpeg_kilobytes(images)
    assert row["eval/jpeg_incompressibility"] == sizes[:2].mean().item()
    assert row["eval/jpeg_compressibility"] == -sizes.mean().item()  # what the run is trained on
    assert "eval/target_colour" not in row


def test_a_further_judge_trains_nothing_again(tiny_run: MakeConfig, tmp_path: Path) -> None:
    from ddpo_bench.training.trainer import train

    config, rows = tiny_run(epochs=1, evaluation={"samples": 2, "judges": []}), []
    train(config, tmp_path)
    further = tiny_run(epochs=1, evaluation={"samples": 2, "judges": ["target_colour"]})
    assert further.identity() == config.identity()
    train(further, tmp_path, rows.append)
    assert not rows
    train(replace(further, epochs=2), tmp_path, rows.append)  # continued, with the new judge
    assert [row["epoch"] for row in rows if "eval/target_colour" in row] == [2]
