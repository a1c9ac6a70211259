from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricate import final_reward, update
from fabricate_tuning import BEST, FAILED, INFEASIBLE, PRUNED, fabricate_tuning
from matplotlib.figure import Figure

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.plots.tuning import (
    best_so_far,
    draw_trials,
    tuning_history,
    tuning_pareto,
)
from ddpo_bench.analysis.report.page import templates
from ddpo_bench.analysis.report.tuning import tuned
from ddpo_bench.analysis.tabulate import tabulate
from ddpo_bench.analysis.tuning import Study
from ddpo_bench.analysis.tuning_files import read_studies, read_study
from ddpo_bench.analysis.tuning_notes import tuning_notes
from ddpo_bench.checksummed import Damaged, write_checksummed_json


def html(*studies: Study) -> str:
    """The report's section about these studies, without pictures."""
    return str(templates().get_template("tuning.html.j2").make_module({"tuned": tuned(studies)}).tuning(""))


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> Study:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return read_study(path)


@pytest.fixture
def study(suite: Path) -> Study:
    return read_study(fabricate_tuning(suite)[0])


def test_the_best_met_its_constraints(study: Study) -> None:
    assert max(study.complete, key=lambda trial: trial.values).number == INFEASIBLE
    assert [trial.number for trial in study.best] == [BEST]


def test_the_best_so_far_never_falls_and_skips_what_does_not_count(study: Study) -> None:
    numbers, best = best_so_far(study)
    assert numbers == [0, 1, 4, 5, 7, 7]
    assert best == pytest.approx([-0.2, -0.1, 0.2, 0.3, 0.3, 0.3])
    assert not {INFEASIBLE, PRUNED, FAILED} & {*numbers}


def test_a_pareto_front_is_what_nothing_betters(suite: Path) -> None:
    study = read_study(fabricate_tuning(suite, objectives=("reward", "kl"))[0])
    front = {trial.number for trial in study.best}
    counted = [trial for trial in study.trials if trial.counts]
    for trial in counted:
        better = [o for o in counted if o.values[0] > trial.values[0] and o.values[1] < trial.values[1]]
        assert (trial.number in front) == (not better)
    assert [trial.values[1] for trial in study.best] == sorted(trial.values[1] for trial in study.best)


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
    axes = Figure().subplots()
    draw_trials(axes, study, [(trial.number, *trial.values) for trial in study.complete])
    rings = [line.get_xydata()[0] for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert rings == [pytest.approx((BEST, 0.3))]


@pytest.mark.parametrize("objectives", [("reward",), ("reward", "kl")])
def test_a_study_of_which_nothing_is_complete_is_drawn(suite: Path, tmp_path: Path, objectives: tuple) -> None:
    def nothing_complete(data: dict[str, Any]) -> None:
        for trial in data["trials"]:
            trial.update(state="failed", values=[], per_seed={})
        data.update(winners=[], importance={})

    study = change(fabricate_tuning(suite, objectives=objectives)[0], nothing_complete)
    draw = tuning_history if len(objectives) == 1 else tuning_pareto
    draw([study], tmp_path / "picture.png")
    page = html(study)
    assert "8 failed" in page
    assert "0 complete trials are too few" in page


def test_winners_stand_next_to_what_fresh_seeds_say(suite: Path, study: Study) -> None:
    page = html(study)
    fresh = [final_reward("ppo", "jpeg_compressibility", seed) for seed in range(3)]
    low, value, high = (f"{x:.4f}".replace("-", "−") for x in (min(fresh), np.mean(fresh), max(fresh)))
    lost = f"{0.3 - np.mean(fresh):.4f}"
    cells = ["0.3000", "2", f"{value} [{low}, {high}]", "3", lost]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert "learning_rate 0.000178, passes 2, clip_range 9.2 nats" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "ddpo-bench train results/algos/best-ppo-jpeg_compressibility.yaml" in page


def test_a_winner_that_was_not_run_again_has_no_fresh_value(suite: Path, study: Study) -> None:
    for run in suite.glob(f"runs/*-{study.winners[0]}/*"):
        update(run, "status.json", state="killed")
    assert "<td>0.3000</td><td>2</td><td>–</td><td>0</td><td>–</td>" in html(study)


def test_less_kl_on_fresh_seeds_is_no_loss(suite: Path) -> None:
    study = read_study(fabricate_tuning(suite, objectives=("reward", "kl"))[0])
    assert "<td>600.0</td><td>2</td><td>6.6 [6.0, 7.2]</td><td>3</td><td>−593.4</td>" in html(study)


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
    assert "of which 101 is also reported, so that these results are too good." in tuning_notes([study], [])[0]
