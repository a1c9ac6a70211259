from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from fabricate import EPOCHS, SAMPLES, fabricate_run, fabricate_suite, final_reward, rows_of, write_rows
from hypothesis import given
from hypothesis import strategies as st

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.varied import shortened
from ddpo_bench.checksummed import Damaged
from ddpo_bench.run_folder.places import ResultsError


def test_every_run_is_read(suite: Path) -> None:
    records = collect(suite)
    assert len(records) == 18
    assert {(r.algorithm, r.reward, r.seed) for r in records} == {
        (a, r, s)
        for a in ("frozen", "ppo", "trpo_penalty")
        for r in ("jpeg_compressibility", "target_colour")
        for s in range(3)
    }
    assert all(record.status == "done" and record.varied == {} for record in records)


def test_rows_are_split_into_curve_and_evaluations(suite: Path) -> None:
    record = next(r for r in collect(suite) if (r.algorithm, r.reward, r.seed) == ("ppo", "target_colour", 2))
    assert list(record.curve["queries"]) == [SAMPLES * epoch for epoch in range(1, EPOCHS + 1)]
    assert [row["epoch"] for row in record.evaluated] == [0, EPOCHS]
    assert record.held_out("target_colour", 0) == final_reward("frozen", "target_colour", 2)
    assert record.final == final_reward("ppo", "target_colour", 2)


def test_a_torn_last_line_is_skipped(suite: Path) -> None:
    path = next(suite.glob("runs/*/seed-0/metrics.jsonl"))
    path.write_text(path.read_text() + '{"epoch": 7, "queri')
    record = next(r for r in collect(suite) if r.folder == path.parent)
    assert len(record.curve) == EPOCHS


@pytest.mark.parametrize("broken", ['{"epoch": 7, "queri\n', "[1, 2]\n"])
def test_any_other_malformed_line_is_named(suite: Path, broken: str) -> None:
    path = next(suite.glob("runs/*/seed-0/metrics.jsonl"))
    path.write_text(path.read_text() + broken)
    with pytest.raises(Damaged, match=rf"{path}, line {EPOCHS + 3}: .*JSON") as error:
        collect(suite)
    assert "\n" not in str(error.value)


def test_a_done_run_without_its_evaluation_is_an_error_with_its_file(suite: Path) -> None:
    path = next(suite.glob("runs/ppo-*/seed-0/metrics.jsonl"))
    write_rows(path.parent, [row for row in rows_of(path.parent) if "queries" in row])
    record = next(r for r in collect(suite) if r.folder == path.parent)
    with pytest.raises(ResultsError, match=rf"{path}: the last evaluation holds no eval/{record.reward}"):
        _ = record.final


def test_a_folder_without_runs_is_one_line_with_the_nearest_that_has_some(suite: Path) -> None:
    with pytest.raises(ResultsError, match=rf"algso: no such folder. Did you mean {suite}\?$"):
        collect(suite.parent / "algso")
    with pytest.raises(ResultsError, match=rf"holds no runs. Did you mean {suite}\?$"):
        collect(suite.parent)


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    empty = tmp_path / "results" / "empty"  # other tests' runs are next to tmp_path
    empty.mkdir(parents=True)
    with pytest.raises(ResultsError, match=r"holds no runs\. Make some: ddpo-bench run SUITE\.$"):
        collect(empty)


def test_cells_that_share_a_name_are_told_apart_by_their_options(tmp_path: Path) -> None:
    for clip_range in (1e-3, 5e-3):
        fabricate_run(tmp_path, "ppo", "target_colour", 0, clip_range=clip_range, passes=1)
    fabricate_run(tmp_path, "frozen", "target_colour", 0)
    records = collect(tmp_path)
    assert {record.label for record in records} == {"frozen", "ppo clip_range=0.001", "ppo clip_range=0.005"}
    assert {record.task for record in records} == {"target_colour"}


@pytest.mark.parametrize(
    ("rates", "shown"),
    [
        ((0.0003541641581606764, 5.96627575326096e-05), ("0.000354", "5.97e-05")),  # as drawn by a search
        ((0.12345678, 0.12345), ("0.12346", "0.12345")),
    ],
)
def test_numbers_are_named_in_as_many_digits_as_tell_them_apart(
    tmp_path: Path, rates: tuple[float, ...], shown: tuple[str, ...]
) -> None:
    for rate in rates:
        fabricate_run(tmp_path, "ppo", "target_colour", 0, learning_rate=rate)
    assert {run.label for run in collect(tmp_path)} == {f"ppo learning_rate={text}" for text in shown}


@given(st.lists(st.one_of(st.floats(allow_nan=False), st.integers(), st.text(), st.none()), max_size=8))
def test_what_differs_still_does_and_what_is_equal_still_is(values: list[object]) -> None:
    short = [options["key"] for options in shortened([{"key": value} for value in values])]
    for i, value in enumerate(values):
        for j in range(i):
            if isinstance(value, float) == isinstance(values[j], float):
                assert (value == values[j]) == (short[i] == short[j])
        assert isinstance(value, float) or short[i] is value


def test_a_plugins_name_tells_its_default_options_too(tmp_path: Path) -> None:
    plugins = {"batch": {"name": "batch"}, "per_prompt": {"name": "per_prompt", "buffer_size": 16, "min_count": 16}}
    for name, min_count in (("batch", None), ("per_prompt", 16), ("per_prompt", 4)):
        folder = fabricate_run(tmp_path, "ppo", "target_colour", 0, of=[name, min_count])
        config = yaml.safe_load((folder / "config.yaml").read_text())
        del config["algorithm"]["of"]
        config["advantages"] = plugins[name] | ({"min_count": min_count} if min_count else {})
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert {record.label for record in collect(tmp_path)} == {
        "ppo advantages.min_count=None advantages=batch",
        "ppo advantages.min_count=16 advantages=per_prompt",
        "ppo advantages.min_count=4 advantages=per_prompt",
    }


def test_the_same_settings_in_two_cells_are_not_pooled(tmp_path: Path) -> None:
    folder = fabricate_run(tmp_path, "ppo", "target_colour", 0)
    older = folder.parent.with_name("ppo-target_colour-0123456789ab")
    folder.parent.rename(older)
    fabricate_run(tmp_path, "ppo", "target_colour", 0)
    assert len({record.label for record in collect(tmp_path)}) == 2


def test_the_plan_orders_cells_and_leaves_out_those_of_earlier_plans(suite: Path) -> None:
    folders = sorted({path.parent.name for path in suite.glob("runs/*/seed-0")}, reverse=True)[:4]
    cells = [{"name": name[:-13], "hash": name[-12:], "varied": {}} for name in folders]
    (suite / "suite.yaml").write_text(yaml.safe_dump({"name": "algos", "cells": cells, "seeds": [0, 1, 2, 3]}))
    records = collect(suite)
    assert list(dict.fromkeys(record.folder.parent.name for record in records)) == folders
    assert [record.status for record in records if record.seed == 3] == ["queued"] * 4


def test_seeds_are_in_numerical_order(tmp_path: Path) -> None:
    fabricate_suite(tmp_path, ("ppo",), seeds=11)
    assert [record.seed for record in collect(tmp_path)] == [*range(11), *range(11)]


def test_a_run_says_by_which_name_its_reward_is_known(tmp_path: Path) -> None:
    """Two functions of one module are two rewards, and so are two colours, whatever their plugin is called."""
    for seed, label in enumerate(("rw_flag:flaky", "rw_flag:slow")):
        folder = fabricate_run(tmp_path / "own", "ppo", "target_colour", seed)
        (folder / "provenance.json").write_text(json.dumps({"reward": label}))
        rows = (folder / "metrics.jsonl").read_text().replace("eval/target_colour", f"eval/{label}")
        (folder / "metrics.jsonl").write_text(rows)
    records = collect(tmp_path / "own")
    assert [record.task for record in records] == ["rw_flag:flaky", "rw_flag:slow"]
    assert all(record.final == record.held_out(record.reward) for record in records)
