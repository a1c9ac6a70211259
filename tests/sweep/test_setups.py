"""`matrix: {setup: [...]}`: values that belong together are set together, under a label that names the cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.commands.planning import narrowed
from ddpo_bench.config import ConfigError
from ddpo_bench.preflight.checks import place_of, values_of
from ddpo_bench.sweep.plan import runs_of, select
from ddpo_bench.sweep.suite import Suite, load_suite

PPO = {"label": "ppo", "algorithm": "ppo", "advantages": "per_prompt"}
GRPO = {"label": "grpo", "algorithm": {"name": "ppo"}, "advantages": "group", "samples_per_prompt": 8}
REWARDS = ["jpeg_compressibility", "target_colour"]


def load(folder: Path, *setups: Any, overrides: tuple[str, ...] = (), **changes: Any) -> Suite:
    matrix = {"setup": list(setups), "reward": REWARDS} | changes.pop("matrix", {})
    (folder / "mine.yaml").write_text(yaml.safe_dump({"matrix": matrix, "seeds": [0, 1]} | changes, sort_keys=False))
    return load_suite(folder / "mine.yaml", overrides)


def refused(folder: Path, *setups: Any, **changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(folder, *setups, **changes)
    return [line.removeprefix(f"{folder}/mine.yaml: ") for line in raised.value.mistakes]


def test_a_setup_sets_several_keys_at_once_and_its_label_names_the_cells(tmp_path: Path) -> None:
    suite = load(tmp_path, PPO, GRPO)
    assert [cell.name for cell in suite.cells] == [
        f"{label}-{reward}" for label in ("ppo", "grpo") for reward in REWARDS
    ]
    pairs = [(cell.config.advantages.name, cell.config.samples_per_prompt) for cell in suite.cells]
    assert pairs == [("per_prompt", 1)] * 2 + [("group", 8)] * 2
    assert {cell.config.algorithm.name for cell in suite.cells} == {"ppo"}


def test_runs_are_picked_and_told_apart_by_the_label(tmp_path: Path) -> None:
    suite = load(tmp_path, PPO, GRPO)
    assert len(select(runs_of(suite), "grpo-*")) == 4
    assert narrowed(suite, select(runs_of(suite), "grpo-*/seed-1")).cells == suite.cells[2:]


def test_dotted_keys_of_a_setup_lead_inside(tmp_path: Path) -> None:
    suite = load(tmp_path, {"label": "wide", "algorithm": "ppo", "algorithm.learning_rate": 0.5, "sampler.steps": 3})
    assert suite.cells[0].config.algorithm.options["learning_rate"] == 0.5
    assert suite.cells[0].config.sampler.options["steps"] == 3


@pytest.mark.parametrize(
    ("setup", "mistake"),
    [
        ("ppo", "matrix.setup[1]: expected a label and keys, as {label: mine, algorithm: ppo}; got 'ppo'."),
        ({"algorithm": "sac"}, "matrix.setup[1].label: is required."),
        (GRPO | {"label": "ppo"}, "matrix.setup[1].label: 'ppo' is given twice. Each needs its own."),
        (GRPO | {"label": "a/b"}, "matrix.setup[1].label: 'a/b' cannot name a folder."),
        (GRPO | {"label": "x" * 61}, "matrix.setup[1].label: is 61 characters long; at most 60 are allowed."),
        (GRPO | {"label": 3}, "matrix.setup[1].label: 3 cannot name a folder."),
        (GRPO | {"seed": 3}, "matrix.setup[1].seed: a suite's seeds are its own key."),
        (GRPO | {"advantage": "group"}, "matrix.setup[1].advantage: unknown key 'advantage'. Did you mean"),
        (GRPO | {"advantages": "grup"}, "matrix.setup[1].advantages: unknown advantages 'grup'. Did you mean 'group'?"),
        (GRPO | {"algorithm": {"name": "ppo", "learning_rat": 1}}, "matrix.setup[1].algorithm.learning_rat: unknown"),
        (GRPO | {"algorithm.learning_rat": 1}, "matrix.setup[1].algorithm.learning_rat: unknown key"),
        (GRPO | {"epochs": -1}, "matrix.setup[1].epochs: must be at least 0"),
        (PPO | {"label": "again"}, "matrix.setup[1]: makes the same runs as matrix.setup[0]. Remove one of them."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_setup_is_told_once_with_its_place(tmp_path: Path, setup: Any, mistake: str) -> None:
    (line,) = refused(tmp_path, PPO, setup)
    assert line.startswith(mistake)


@pytest.mark.parametrize(
    ("key", "leaf"),
    [
        ("algorithm", "algorithm.name"),
        ("advantages", "advantages.name"),
        ("samples_per_prompt", "samples_per_prompt"),
        ("algorithm.learning_rate", "algorithm.learning_rate"),
    ],
)
def test_a_key_that_a_setup_sets_too_cannot_be_crossed_with_it(tmp_path: Path, key: str, leaf: str) -> None:
    setup = GRPO | {"algorithm": {"name": "ppo", "learning_rate": 0.1}}
    values = {"algorithm": ["sac"], "advantages": ["batch"]}.get(key, [2, 4])
    lines = refused(tmp_path, PPO, setup, matrix={key: values})
    index = 0 if leaf.endswith(".name") else 1
    assert lines[0] == f"matrix.{key}: matrix.setup[{index}] sets {leaf} too. Keep one of the two."


def test_an_option_inside_a_setups_plugin_may_be_crossed_with_it(tmp_path: Path) -> None:
    suite = load(tmp_path, PPO, GRPO, matrix={"algorithm.learning_rate": [0.1, 0.2]})
    assert [cell.config.algorithm.options["learning_rate"] for cell in suite.cells] == [0.1, 0.2] * 4


def test_the_command_line_cannot_set_what_a_setup_sets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the matrix varies 'advantages'\. Change matrix\.setup in .*mine\.yaml"):
        load(tmp_path, PPO, GRPO, overrides=("advantages.clip=1",))


def test_validation_finds_the_values_in_setups_with_their_places(tmp_path: Path) -> None:
    suite = load(tmp_path, PPO, GRPO | {"policy": {"model": "owner/name"}})
    data = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert list(values_of(data, "policy.model")) == [("matrix.setup[1].policy.model", "owner/name")]
    assert place_of("policy.model", suite.cells[-1]) == "matrix.setup[1].policy.model"
    assert place_of("reward", suite.cells[-1]) == "matrix.reward[1]"
    assert place_of("policy.model", suite.cells[0]) == "base.policy.model"


def test_a_space_may_be_given_for_each_setup_or_each_algorithm(tmp_path: Path) -> None:
    rate, frozen = {"low": 0.1, "high": 0.2}, {"label": "none", "algorithm": "frozen"}
    space = {
        "grpo": {"algorithm.learning_rate": rate, "samples_per_epoch": {"choices": [8, 16]}},
        "ppo": {"algorithm.learning_rate": rate},
    }
    tune = {"space": space, "trials": 2, "seeds": [9]}
    suite = load(tmp_path, frozen, PPO, GRPO, tune=tune)
    spaces = [list(cell.space) for cell in suite.cells[::2]]
    assert spaces == [[], ["algorithm.learning_rate"], ["algorithm.learning_rate", "samples_per_epoch"]]
    tuned = suite.changed(suite.cells[-1], {"algorithm.learning_rate": 0.15})
    assert (tuned.config.advantages.name, tuned.config.algorithm.options["learning_rate"]) == ("group", 0.15)
    line = refused(
        tmp_path, PPO, GRPO, tune=tune | {"space": {"grpo": {"advantages": {"choices": ["batch", "group"]}}}}
    )
    assert line == [
        "tune.space.grpo.advantages: the matrix varies 'advantages'. Tune keys inside it, as advantages.learning_rate."
    ]


def write_runs(suite: Suite, results: Path) -> list[str]:
    """Lay out the folders of a suite that has not run, and return the labels of its runs."""
    from ddpo_bench.analysis.collect import collect
    from ddpo_bench.checksummed import write_checksummed_yaml
    from ddpo_bench.sweep.plan_file import write_plan

    write_plan(suite, results)
    for run in runs_of(suite):
        (results / run.folder).mkdir(parents=True)
        write_checksummed_yaml(results / run.folder / "config.yaml", run.config.to_dict())
    return list(dict.fromkeys(record.label for record in collect(results)))


def test_a_table_calls_cells_by_their_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen = {"label": "untrained", "algorithm": "frozen"}
    suite = load(tmp_path, frozen, PPO, GRPO, matrix={"reward": ["target_colour"], "sampler.steps": [2, 3]})
    labels = [f"{label} sampler.steps={steps}" for label in ("untrained", "ppo", "grpo") for steps in (2, 3)]
    assert write_runs(suite, tmp_path) == labels
    assert cli.main(["ls", str(tmp_path)]) == 0
    assert "frozen, ppo" in capsys.readouterr().out


def test_setups_crossed_with_algorithms_are_named_after_both(tmp_path: Path) -> None:
    algorithms = ["frozen", {"name": "ppo", "learning_rate": 1e-5}]
    setups = [{"label": "short", "sampler.steps": 2}, {"label": "long", "sampler.steps": 8}]
    suite = load(tmp_path, *setups, matrix={"reward": ["target_colour"], "algorithm": algorithms})
    assert write_runs(suite, tmp_path) == ["frozen short", "ppo short", "frozen long", "ppo long"]


def test_setups_that_follow_from_the_reward_are_not_named(tmp_path: Path) -> None:
    setups = [{"label": "size", "reward": "jpeg_compressibility"}, {"label": "colour", "reward": "target_colour"}]
    matrix = {"algorithm": ["frozen", {"name": "ppo", "learning_rate": 1e-5}], "setup": setups}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"matrix": matrix, "seeds": [0]}))
    assert write_runs(load_suite(tmp_path / "mine.yaml"), tmp_path) == ["frozen", "ppo"]
