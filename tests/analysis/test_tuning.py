from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricate import final_reward, update
from fabricate_tuning import BEST, INFEASIBLE, TRIALS, fabricate_tuning

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.plots.tuning import best_line, points_of, tuning_search
from ddpo_bench.analysis.report.tuning import searches, winners
from ddpo_bench.analysis.tabulate import tabulate
from ddpo_bench.analysis.tuning import Study, read_studies, read_study, tuning_notes
from ddpo_bench.checksummed import Damaged, write_checksummed_json, write_checksummed_yaml


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> Study:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return read_study(path)


@pytest.fixture
def study(suite: Path) -> Study:
    return read_study(fabricate_tuning(suite)[0])


def test_the_best_so_far_never_falls_and_skips_what_does_not_count(study: Study) -> None:
    assert best_line(study) == [
        (0, pytest.approx(-0.2)),
        (1, pytest.approx(-0.1)),
        (4, pytest.approx(0.2)),
        (5, 0.3),
        (7, 0.3),
    ]
    assert [trial.number for trial in study.trials if trial.values and not trial.counts] == [INFEASIBLE]


def test_a_pareto_front_is_what_nothing_betters(suite: Path) -> None:
    study = read_study(fabricate_tuning(suite, objectives=("reward", "kl"))[0])
    *front, _ = best_line(study)
    counted = [trial for trial in study.trials if trial.counts]
    for trial in counted:
        better = [o for o in counted if o.values[0] > trial.values[0] and o.values[1] < trial.values[1]]
        assert ((trial.values[1], trial.values[0]) in front) == (not better)


def test_a_search_of_an_earlier_plan_is_left_out(suite: Path) -> None:
    fabricate_tuning(suite)
    kept, *dropped = read_studies(suite)
    cells = [{"name": kept.cell, "hash": winner, "varied": {}} for winner in kept.winners]
    write_checksummed_yaml(suite / "suite.yaml", {"name": "algos", "cells": cells, "seeds": [0, 1, 2]})
    assert dropped
    assert read_studies(suite) == [kept]


def test_a_damaged_study_is_named_with_the_remedy(suite: Path) -> None:
    path = fabricate_tuning(suite)[0]
    write_checksummed_json(path, json.loads(path.read_text()))
    whole = path.read_text()
    for text in (whole[:-20], whole.replace('"budget": 8', '"budget": 9'), '{"cell": "ppo"}', "[]"):
        path.write_text(text)
        with pytest.raises(Damaged, match=re.escape(str(path))) as raised:
            read_studies(suite)
        assert "run ddpo-bench tune again" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_winners_are_ringed_where_their_trial_is(study: Study) -> None:
    usual, breaks, again = points_of(study).values()
    assert again == [(BEST, pytest.approx(0.3))]
    assert breaks == [(INFEASIBLE, 0.4)]
    assert len(usual) == TRIALS - 3


@pytest.mark.parametrize("objectives", [("reward",), ("reward", "kl")])
def test_a_study_of_which_nothing_counts_is_drawn(suite: Path, tmp_path: Path, objectives: tuple[str, ...]) -> None:
    def none_counts(data: dict[str, Any]) -> None:
        for trial in data["trials"]:
            trial.update(feasible=False)
        data.update(winners=[], importance={})

    study = change(fabricate_tuning(suite, objectives=objectives)[0], none_counts)
    tuning_search([study], tmp_path / "picture.png")
    (row,) = searches([study]).rows
    assert row.values["states"] == "6 complete, 1 pruned, 1 failed, 6 that break a constraint"
    assert row.values["importance"] is None


def test_searches_say_what_they_were_given(study: Study) -> None:
    (row,) = searches([study]).rows
    values = [row.values[key] for key in ("search", "trials", "seeds", "images", "whole", "importance")]
    shares = "learning_rate 0.80, clip_range 0.15, passes 0.05"
    assert values == ["tpe", 8, "100, 101", 192, 8 * 2 * 192, shares]


def test_winners_stand_next_to_what_fresh_seeds_say(study: Study) -> None:
    table = winners([study])
    fresh = [final_reward("ppo", "jpeg_compressibility", seed) for seed in range(3)]
    low, value, high = (f"{x:.3f}" for x in (min(fresh), np.mean(fresh), max(fresh)))
    cells = ["0.300", "2", f"{value} [{low}, {high}]", "3", f"{0.3 - np.mean(fresh):.3f}"]
    assert [table.cell(table.rows[0], column) for column in table.columns[3:]] == cells
    assert table.rows[0].values["settings"] == "learning_rate 0.000178, passes 2, clip_range 9.2 nats"


def test_a_winner_that_was_not_run_again_has_no_fresh_value(suite: Path, study: Study) -> None:
    for run in suite.glob(f"runs/*-{study.winners[0]}/*"):
        update(run, "status.json", state="killed")
    table = winners([study])
    assert [table.cell(table.rows[0], column) for column in table.columns[3:]] == ["0.300", "2", "–", "0", "–"]


def test_less_kl_on_fresh_seeds_is_no_loss(suite: Path) -> None:
    _, kl = winners([read_study(fabricate_tuning(suite, objectives=("reward", "kl"))[0])]).rows
    assert kl.values["fresh"] == pytest.approx((6.6, 6.0, 7.2))
    assert kl.values["lost"] == (
        pytest.approx(-593.4),
        pytest.approx(math.nan, nan_ok=True),
        pytest.approx(math.nan, nan_ok=True),
    )


def test_the_note_says_every_algorithm_only_where_it_is_so(suite: Path) -> None:
    paths = fabricate_tuning(suite)
    records = collect(suite)
    equal = "Every algorithm was tuned with 8 trials x 2 seeds (100 and 101) a cell, on other seeds than reported."
    assert tuning_notes(read_studies(suite), records) == [equal]
    assert equal in tabulate(suite).notes
    change(paths[0], lambda data: (data["trials"].pop(), data.update(budget=7)))
    assert tuning_notes(read_studies(suite), records)[0].startswith(
        "Every algorithm was tuned, not all equally: ppo-jpeg_compressibility with 7 trials x 2 seeds (100 and 101); "
    )
    paths[0].unlink()
    assert tuning_notes(read_studies(suite), records) == [
        "Tuned with 8 trials x 2 seeds (100 and 101) a cell, on other seeds than reported. "
        "Not tuned: ppo on jpeg_compressibility."
    ]


def test_the_note_admits_a_seed_that_is_reported_too(suite: Path) -> None:
    path = fabricate_tuning(suite)[0]
    study = change(path, lambda data: data.update(report_seeds=[0, 101]))
    assert "of which 101 is also reported, so that these are too good." in tuning_notes([study], [])[0]
