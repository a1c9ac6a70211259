"""The status of a tuning in progress."""

from __future__ import annotations

from pathlib import Path

import pytest
from queues import tune_here, tuned_suite

from ddpo_bench import cli
from ddpo_bench.quantity import Quantity
from ddpo_bench.sweep.search_space import Choices, Range
from ddpo_bench.tuning.display import TuningDisplay, parameters
from ddpo_bench.tuning.runner import begin
from ddpo_bench.tuning.status import tuning_lines
from ddpo_bench.tuning.studies import TuningPlace


def test_every_study_is_told_in_a_line_and_nothing_is_touched(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    space = {"algorithm.learning_rate": {"choices": [1e-3, 1.0]}}  # of which the second fails
    studies = begin(TuningPlace(None, tuned_suite(tmp_path, space=space), root))
    assert list(tuning_lines(root, None, "mine")) == ["ppo: 0/6 trials"]
    studies.claim()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert list(tuning_lines(root, None, "mine")) == ["ppo: 0/6 trials, 1 running"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_status_tells_the_best_reward_so_far(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"algorithm.learning_rate": {"choices": [1e-3, 1.0]}}
    tune_here(tuned_suite(tmp_path, space=space, seeds=[105], trials=8, sampler="random"), tmp_path / "mine")
    assert cli.main(["status", str(tmp_path / "mine")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ppo: ")]
    assert line.startswith("  ppo: 8/8 trials, ")
    assert line.endswith(" failed, best reward -1")


def test_where_nothing_was_tuned_nothing_is_told(tmp_path: Path) -> None:
    assert list(tuning_lines(tmp_path, None, "mine")) == []


def test_lines_tell_a_trials_start_each_seed_and_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tuned_suite(tmp_path, trials=1)
    studies = begin(TuningPlace(None, suite, tmp_path))
    display = TuningDisplay(studies)
    tune_here(suite, tmp_path)
    display.poll()
    display.poll()
    lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("ppo, trial 0: learning_rate 0.001, by ")
    assert lines[1:] == ["ppo, trial 0: reward -0.975, best -0.975 (1/1 trials)"]


def test_parameters_are_short_and_choices_are_themselves() -> None:
    params = {
        "algorithm.learning_rate": 0.000123456,
        "algorithm.clip_range": 1.23456,
        "sampler.eta": 1,
        "policy.adapter": '"full"',
    }
    space = dict.fromkeys(params, Range(Quantity.parse(0), Quantity.parse(2))) | {
        "algorithm.clip_range": Range(Quantity.parse("0 nats"), Quantity.parse("2 nats")),
        "policy.adapter": Choices(["full", "lora"]),
    }
    assert parameters(params, space) == (
        "learning_rate 0.000123, clip_range 1.23 nats, sampler.eta 1, policy.adapter full"
    )


def test_a_trial_that_breaks_a_constraint_is_never_called_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tuned_suite(
        tmp_path, trials=3, sampler="random", constraints={"kl": {"max": 500}}
    )  # the first has a KL of 1000
    studies = begin(TuningPlace(None, suite, tmp_path))
    display = TuningDisplay(studies)
    tune_here(suite, tmp_path)
    display.poll()
    ends = [line for line in capsys.readouterr().out.splitlines() if "trials)" in line]
    assert "reward -0.975, breaks a constraint (1/3 trials)" in ends[0]
    assert ", best -0.03914 (3/3 trials)" in ends[2]  # the third trial alone stays below 500
    assert list(tuning_lines(tmp_path, None, "mine")) == ["ppo: 3/3 trials, best reward -0.03914"]
