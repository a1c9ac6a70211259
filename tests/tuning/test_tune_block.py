"""A wrong `tune:` block is refused before anything runs, each mistake by its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from queues import tuned_suite, write_suite

from ddpo_bench import cli
from ddpo_bench.config import ConfigError
from ddpo_bench.sweep.search_space import Choices, Range, WholeRange
from ddpo_bench.sweep.suite import load_suite

RATE, CLIP = "algorithm.learning_rate", "algorithm.clip_range"


def test_numbers_are_whole_where_the_key_takes_whole_numbers(tmp_path: Path) -> None:
    space = {RATE: {"low": 1, "high": "1e1"}, "algorithm.passes": {"low": 1, "high": 3}}
    found = tuned_suite(tmp_path, space=space).cells[1].space
    rate, passes = found.values()
    assert (type(rate), rate.to_dict()) == (Range, {"low": 1.0, "high": 10.0, "log": False})
    assert (type(passes), passes.to_dict()) == (WholeRange, {"low": 1, "high": 3, "log": False})


def test_any_key_can_be_searched_and_frozen_is_not_tuned(tmp_path: Path) -> None:
    space = {
        "policy.adapter": {"choices": [{"name": "full"}, {"name": "lora", "rank": 2}]},
        "sampler.eta": {"choices": [0.5, 1]},
    }
    frozen, ppo = tuned_suite(tmp_path, space=space).cells
    assert frozen.space == {}
    assert ppo.space["policy.adapter"] == Choices([{"name": "full"}, {"name": "lora", "rank": 2}])


def test_a_space_can_be_given_by_algorithm(tmp_path: Path) -> None:
    suite = tuned_suite(tmp_path, space={"ppo": {RATE: {"low": 1e-4, "high": 1e-3}}})
    assert [list(cell.space) for cell in suite.cells] == [[], [RATE]]


@pytest.mark.parametrize(
    ("tune", "mistake"),
    [
        ({"space": {}}, "tune.space: is empty. Give a key with {low, high} or {choices}."),
        ({"space": {RATE: {"low": 1}}}, f"tune.space.{RATE}.high: is required."),
        ({"space": {RATE: {"low": 2, "high": 1}}}, f"tune.space.{RATE}: low must be below high"),
        (
            {"space": {RATE: {"low": 0, "high": 1, "log": True}}},
            "low must be below high, and above 0",
        ),
        ({"space": {CLIP: {"low": 1e-3, "high": "25 nats"}}}, f"{CLIP}: low and high must have the same unit, got"),
        (
            {"space": {CLIP: {"low": "0 nats", "high": "25 nats"}}},
            f"tune.space.{CLIP}.low: must be above 0 and at most 1,000,000,000, got 0.",
        ),
        ({"space": {CLIP: {"low": "1 bits", "high": "25 bits"}}}, f"tune.space.{CLIP}.low: expected nats"),
        ({"space": {RATE: {"low": "1 nats", "high": "2 nats"}}}, f"tune.space.{RATE}.low: expected a number, got"),
        ({"constraints": {"kl": {"max": "8000 bits"}}}, "tune.constraints.kl.max: expected a number of nats, got"),
        (
            {"constraints": {"eval/diversity": {"min": "1 nats"}}},
            "constraints.eval/diversity.min: expected a number, got",
        ),
        ({"space": {RATE: {"choices": [1]}}}, f"tune.space.{RATE}: choices: give a list of two values or more"),
        ({"space": {RATE: {"choices": [1, "x"]}}}, f"tune.space.{RATE}.choices[1]: expected a number, got 'x'."),
        ({"space": {"algorithm.learning_rat": {"low": 1, "high": 2}}}, "Did you mean 'learning_rate'?"),
        ({"space": {"algorithm": {"choices": ["ppo", "sac"]}}}, "tune.space.algorithm: the matrix varies 'algorithm'."),
        ({"space": {"seed": {"low": 1, "high": 2}}}, "tune.space.seed: seeds are not tuned"),
        ({"space": {"ppo": {}}}, "tune.space.ppo: expected keys with"),
        ({"space": {"ppo": {RATE: {"low": 1, "high": 2}}, "sacc": {}}}, "tune.space.sacc: unknown algorithm of this"),
        ({"trials": 0}, "tune.trials: must be at least 1 and at most 1,000,000,000, got 0."),
        ({"top": 9}, "tune: top: must be at most trials (6), got 9."),
        ({"seeds": [2, 100]}, "tune.seeds: [2] are also the suite's. Tune on other seeds than you report."),
        ({"seeds": []}, "tune: seeds: give different whole numbers"),
        ({"sampler": "tpo"}, "Did you mean 'tpe'?"),
        ({"pruner": "wilcoxon"}, "tune: pruner: wilcoxon compares seeds, and needs at least 5."),
        (
            {"pruner": "hyperband", "objectives": ["reward", "kl"]},
            "tune: pruner: hyperband supports only one objective.",
        ),
        ({"objectives": ["kl"]}, "tune: objectives: must be [reward] or [reward, kl]."),
        ({"constraints": {"kl": 5}}, "tune.constraints.kl: expected {min: ...}, {max: ...} or both, got 5."),
        ({"constraints": {"speed": {"max": 5}}}, "tune.constraints.speed: is not a measure of an evaluation."),
        ({"equal_budget": True, "top": 2}, "tune: equal_budget: runs one configuration of each algorithm"),
        ({"trails": 3}, "tune.trails: unknown key 'trails'. Did you mean 'trials'?"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, tune: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ConfigError) as error:
        tuned_suite(tmp_path, **tune)
    assert any(line.startswith(f"{tmp_path}/mine.yaml: ") and mistake in line for line in error.value.mistakes)


def test_equal_budgets_need_a_space_for_every_algorithm(tmp_path: Path) -> None:
    tune = {"equal_budget": True, "space": {"ppo": {RATE: {"low": 1e-4, "high": 1e-3}}}, "trials": 2, "seeds": [100]}
    write_suite(tmp_path / "mine.yaml", matrix={"algorithm": ["frozen", "ppo", "sac"]}, tune=tune)
    with pytest.raises(ConfigError, match=r"tune.space: equal budgets need a space for every algorithm; none for sac"):
        load_suite(tmp_path / "mine.yaml")


def test_seeds_of_the_command_line_are_kept_apart_from_the_tuning_seeds_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned_suite(tmp_path)
    assert cli.main(["tune", str(tmp_path / "mine.yaml"), "--seeds", "100", "--dry-run"]) == 1
    assert "tune.seeds: [100] are also the suite's" in capsys.readouterr().err


def test_a_suite_without_the_block_is_sent_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"seeds": [0]}))
    assert cli.main(["tune", str(tmp_path / "mine.yaml")]) == 1
    assert "has no tune: block. Use: ddpo-bench run" in capsys.readouterr().err


def test_the_plan_says_how_much_at_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned_suite(tmp_path)
    results = tmp_path / "results"
    assert cli.main(["tune", str(tmp_path / "mine.yaml"), "--dry-run", "--results", str(results)]) == 0
    assert "At most 144 images (reward queries) in all trials; then 6 runs" in capsys.readouterr().out
    assert not results.exists()
