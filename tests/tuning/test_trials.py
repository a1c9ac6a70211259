"""Trials are ordinary runs over seeds; the best configurations are those that really are, and they are run afresh."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fake_trainer
import pytest
import yaml
from optuna.trial import TrialState
from queues import RATE, only_record, tune_here, tuned_suite

from ddpo_bench.analysis.statistics import iqm
from ddpo_bench.analysis.tuning import read_studies
from ddpo_bench.commands.planning import load_run
from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.runner import work_on_suite
from ddpo_bench.tuning.display import Quiet
from ddpo_bench.tuning.outcome import swept, without_winner, write_best, write_records


def sessions(root: Path) -> list[int]:
    """How often the training of each run was begun."""
    return [len(fake_trainer.sessions(folder)) for folder in root.glob("runs/*/*")]


def test_a_trials_value_is_the_iqm_of_its_seeds_final_rewards(tmp_path: Path) -> None:
    told = only_record(tune_here(tuned_suite(tmp_path, seeds=[100, 101, 102, 103]), tmp_path))
    assert len(told["trials"]) == 6
    for trial in told["trials"]:
        offsets = [0.01 * (seed % 7) for seed in (100, 101, 102, 103)]
        ideal = math.log10(trial["params"]["algorithm.learning_rate"] / fake_trainer.BEST_RATE) ** 2
        assert trial["values"] == pytest.approx([float(iqm(offsets)) - ideal])
        assert list(trial["per_seed"]) == ["100", "101", "102", "103"]


def test_the_first_trial_tries_the_suites_own_settings(tmp_path: Path) -> None:
    first = only_record(tune_here(tuned_suite(tmp_path, trials=1), tmp_path))["trials"][0]
    assert first["params"] == {"algorithm.learning_rate": 1e-3}


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_find_the_best_setting_better_than_chance(tmp_path: Path, sampler: str) -> None:
    best = []
    for name in (sampler, "random"):
        told = only_record(tune_here(tuned_suite(tmp_path, trials=20, seeds=[100], sampler=name), tmp_path / name))
        best.append([trial["values"][0] for trial in told["trials"]])
    guided, chance = best
    assert sum(guided[7:]) > sum(chance[7:])  # past the random start


def test_a_configuration_that_was_tried_is_not_trained_again(tmp_path: Path) -> None:
    space = {"algorithm.learning_rate": {"choices": [1e-3, 1e-4]}}
    studies = tune_here(tuned_suite(tmp_path, space=space), tmp_path)
    assert all(trial["state"] == "complete" for trial in only_record(studies)["trials"])
    assert len(sessions(tmp_path)) == 4  # two configurations, two seeds
    assert set(sessions(tmp_path)) == {1}


def test_a_failing_configuration_is_a_failed_trial_with_its_reason(tmp_path: Path) -> None:
    space = {"algorithm.learning_rate": {"choices": [1e-3, 1.0]}}
    trials = only_record(tune_here(tuned_suite(tmp_path, space=space), tmp_path))["trials"]
    failed = [trial for trial in trials if trial["params"]["algorithm.learning_rate"] == 1.0]
    assert failed
    for trial in failed:
        assert trial["state"] == "failed"
        assert trial["reason"] == "seed 100: FloatingPointError: the loss is NaN"
        assert trial["values"] == []


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        ({"pruner": "hyperband", "trials": 24}, r"pruned at epoch \d of seed 10[01]"),  # within a run
        ({"pruner": "wilcoxon", "trials": 10, "seeds": [*range(100, 106)]}, r"pruned after [45] seeds"),  # between runs
    ],
)
def test_pruners_give_up_bad_trials_but_not_the_best(tmp_path: Path, tune: dict[str, Any], reason: str) -> None:
    trials = only_record(tune_here(tuned_suite(tmp_path, sampler="random", **tune), tmp_path))["trials"]
    pruned = [trial for trial in trials if trial["state"] == "pruned"]
    assert pruned
    assert all(re.fullmatch(reason, trial["reason"]) for trial in pruned)
    best = min(trials, key=lambda trial: abs(math.log10(rate_of(trial) / fake_trainer.BEST_RATE)))
    assert best["state"] == "complete"


def rate_of(trial: dict[str, Any]) -> float:
    return trial["params"]["algorithm.learning_rate"]


def test_a_pruned_run_resumes_where_it_stopped_when_its_configuration_comes_again(tmp_path: Path) -> None:
    space = {"algorithm.learning_rate": {"choices": [1e-2, 5e-3, 2e-3, 1e-3, 1e-4]}}
    studies = tune_here(tuned_suite(tmp_path, space=space, pruner="hyperband", trials=20, sampler="random"), tmp_path)
    assert "pruned" in [trial["state"] for trial in only_record(studies)["trials"]]
    assert max(sessions(tmp_path)) > 1
    for folder in tmp_path.glob("runs/*/*"):
        epochs = [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert epochs[: len({*epochs})] == sorted({*epochs})  # none twice, except for the evaluation at the end


def test_constraints_keep_a_better_but_forbidden_configuration_from_winning(tmp_path: Path) -> None:
    space = {"algorithm.learning_rate": {"choices": [1e-3, 1e-4, 1e-6]}}
    studies = tune_here(
        tuned_suite(tmp_path, space=space, trials=12, constraints={"kl": {"max": "5e1"}}), tmp_path
    )  # text in YAML 1.1
    told = only_record(studies)
    for trial in told["trials"]:
        kl = 1e6 * trial["params"]["algorithm.learning_rate"]
        assert trial["constraints"] == {"kl <= 50": pytest.approx(kl - 50)}
        assert trial["feasible"] == (kl <= 50)
    (winner,) = told["winners"]
    (params,) = {t["params"]["algorithm.learning_rate"] for t in told["trials"] if t["hash"] == winner}
    assert params == 1e-6


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda text: text.replace('"eval/jpeg_compressibility": -', '"eval/jpeg_compressibility": NaN, "was": -'),
            "nan",
        ),
        (lambda text: "{" + text, "line 1: is damaged"),
    ],
)
def test_a_trial_whose_measures_cannot_be_used_fails_and_says_why(
    tmp_path: Path, spoil: Callable[[str], str], reason: str
) -> None:
    def train_and_spoil(config: Any, folder: Path, on_row: Any) -> None:
        fake_trainer.train(config, folder, on_row)
        metrics = folder / "metrics.jsonl"
        metrics.write_text(spoil(metrics.read_text()))

    (trial,) = only_record(tune_here(tuned_suite(tmp_path, trials=1, seeds=[100]), tmp_path, train_and_spoil))["trials"]
    assert trial["state"] == "failed"
    assert reason in trial["reason"]


def test_where_no_configuration_meets_the_constraints_nothing_is_reported(tmp_path: Path) -> None:
    studies = tune_here(tuned_suite(tmp_path, constraints={"eval/diversity": {"min": 0.5}}, trials=3), tmp_path)
    (line,) = without_winner(studies)
    assert line.startswith("ppo: no configuration succeeded (3 infeasible); see ")
    assert [cell.name for cell in swept(studies).cells] == ["frozen"]


def test_a_constraint_on_what_is_not_measured_fails_the_trials_by_name(tmp_path: Path) -> None:
    studies = tune_here(tuned_suite(tmp_path, constraints={"eval/beauty": {"min": 0.5}}, trials=1), tmp_path)
    assert "did not measure eval/beauty" in only_record(studies)["trials"][0]["reason"]


def test_two_objectives_give_the_pareto_front_from_end_to_end(tmp_path: Path) -> None:
    rates = [1e-3, 1e-4, 5e-5, 2e-5, 1e-5]  # of 1e-3, 1e-4 has the better reward at less KL
    space = {"algorithm.learning_rate": {"choices": rates}}
    studies = tune_here(
        tuned_suite(tmp_path, space=space, objectives=["reward", "kl"], trials=30, top=3, sampler="random"), tmp_path
    )
    told = only_record(studies)
    found = {trial["hash"]: rate_of(trial) for trial in told["trials"]}
    assert [found[identity] for identity in told["winners"]] == [1e-4, 2e-5, 1e-5]  # 5e-5 is as near to the middle


def test_a_range_in_nats_is_drawn_recorded_and_read_in_nats(tmp_path: Path) -> None:
    clip = {"low": "0.5 nats", "high": "25 nats", "log": True}
    suite = tuned_suite(
        tmp_path, space={"algorithm.clip_range": clip}, trials=4, seeds=[100], constraints={"kl": {"max": "8000 nats"}}
    )
    studies = tune_here(suite, tmp_path)
    told = only_record(studies)
    write_records(studies)
    drawn = [trial["params"]["algorithm.clip_range"] for trial in told["trials"]]
    assert told["space"] == {"algorithm.clip_range": clip}
    assert drawn[0] == "1.6 nats"  # the suite's own setting
    assert all(re.fullmatch(r"\d{1,2}(\.\d{1,2})? nats|0\.\d{3} nats", text) for text in drawn)
    (study,) = read_studies(tmp_path)
    assert [trial.params["algorithm.clip_range"] for trial in study.trials] == drawn
    configured = [yaml.safe_load(file.read_text()) for file in tmp_path.glob("runs/ppo-*/seed-100/config.yaml")]
    assert sorted(config["algorithm"]["clip_range"] for config in configured) == sorted(drawn)


def test_importance_tells_the_parameter_that_matters(tmp_path: Path) -> None:
    space = {"algorithm.learning_rate": RATE, "algorithm.clip_range": {"low": 1e-3, "high": 1e-1, "log": True}}
    studies = tune_here(tuned_suite(tmp_path, space=space, trials=40, seeds=[100], sampler="random"), tmp_path)
    shares = only_record(studies)["importance"]
    assert shares["algorithm.learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)


def test_the_winners_are_run_again_on_fresh_seeds_and_the_best_of_them_becomes_a_file(tmp_path: Path) -> None:
    suite = tuned_suite(tmp_path, trials=8, top=2)
    studies = tune_here(suite, tmp_path)
    write_records(studies)
    final = swept(studies)
    work_on_suite(final, runs_of(final), tmp_path, lambda runs, done: nullcontext(Quiet()), train=fake_trainer.TRAIN)
    (file,) = write_best(studies, final)
    told = json.loads((tmp_path / "tuning" / "ppo.json").read_text())
    assert [cell.name for cell in final.cells] == ["frozen", "ppo", "ppo"]
    assert [cell.hash for cell in final.cells[1:]] == told["winners"]
    for cell in final.cells:
        runs = {folder.name for folder in (tmp_path / "runs" / f"{cell.name}-{cell.hash}").iterdir()}
        assert runs == {f"seed-{seed}" for seed in [0, 1, 2] + [100, 101] * (cell.name == "ppo")}
    best = load_run(file, [])
    assert best.identity() == told["winners"][0]
    assert file.read_text().startswith("# ppo, best of 8 trials: final reward ")


def test_an_interrupted_study_resumes_as_if_it_had_not_been(tmp_path: Path) -> None:
    suite = tuned_suite(tmp_path, trials=8)
    undisturbed = only_record(tune_here(suite, tmp_path / "undisturbed"))
    interruptions = 0

    def train_badly(config: Any, folder: Path, on_row: Any) -> None:
        def interrupt(row: dict[str, Any]) -> None:
            nonlocal interruptions
            on_row(row)
            if row["epoch"] == 2 and len(fake_trainer.sessions(folder)) == 1:
                interruptions += 1
                raise KeyboardInterrupt

        fake_trainer.train(config, folder, interrupt)

    while True:
        try:
            studies = tune_here(suite, tmp_path / "broken", train_badly)
            break
        except KeyboardInterrupt:
            continue
    assert interruptions == 16  # every run once
    assert only_record(studies) == undisturbed


def test_more_trials_resume_from_those_there_are(tmp_path: Path) -> None:
    few = only_record(tune_here(tuned_suite(tmp_path, trials=3, sampler="random"), tmp_path))
    many = only_record(tune_here(tuned_suite(tmp_path, trials=5, sampler="random"), tmp_path))
    assert many["trials"][:3] == few["trials"]
    assert set(sessions(tmp_path)) == {1}


def test_another_space_is_another_study(tmp_path: Path) -> None:
    first = tune_here(tuned_suite(tmp_path, trials=2), tmp_path)
    second = tune_here(
        tuned_suite(tmp_path, trials=2, space={"algorithm.learning_rate": RATE | {"high": 1e-3}}), tmp_path
    )
    assert first.studies.keys().isdisjoint(second.studies)
    assert all(t.state == TrialState.COMPLETE for t in second.latest(*second.studies).values())
