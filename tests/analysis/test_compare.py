from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fabricate import fabricate_run, fabricate_suite, row_of, rows_of, update, write_rows

from ddpo_bench.analysis.compare import compare, ranges, verdict
from ddpo_bench.analysis.statistics import Estimate
from ddpo_bench.run_folder.places import ResultsError

NAN = float("nan")
Rows = list[dict[str, Any]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return fabricate_suite(tmp_path / "old" / "algos", ("frozen", "ppo"))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return fabricate_suite(tmp_path / "new" / "algos", ("frozen", "ppo"))


def change(results: Path, change_rows: Callable[[Rows, int], None], cell: str = "ppo-target_colour") -> None:
    """Rewrite metrics.jsonl of a cell's runs; `change_rows` gets the rows and the seed."""
    for run in results.glob(f"runs/{cell}-*/seed-*"):
        rows = rows_of(run)
        change_rows(rows, int(run.name.removeprefix("seed-")))
        write_rows(run, rows)


def shift(results: Path, *by: float) -> None:
    """Add to the final reward of ppo on target_colour, seed by seed."""

    def add(rows: Rows, seed: int) -> None:
        rows[-1]["eval/target_colour"] += by[seed]

    change(results, add)


def test_a_folder_is_the_same_as_itself(old: Path) -> None:
    found = compare(old, old)
    assert not found.regressed
    assert [(row.values["n"], row.values["verdict"]) for row in found.table.rows] == [(3, "same")] * 4
    assert all(row.values["difference"] == (0, 0, 0) for row in found.table.rows)


def test_a_lower_reward_is_a_regression(old: Path, new: Path) -> None:
    shift(new, -0.2, -0.3, -0.1)
    found = compare(old, new)
    values = row_of(found.table, "ppo").values
    assert found.regressed
    assert values["a"] == pytest.approx((0.27, 0.26, 0.28))
    assert values["b"] == pytest.approx((0.07, -0.03, 0.18))
    assert values["difference"] == pytest.approx((-0.2, -0.3, -0.1))
    assert values["verdict"] == "worse"
    assert [row.values["verdict"] for row in found.table.rows].count("same") == 3


def test_seeds_are_paired_whatever_they_have_in_common(old: Path, new: Path) -> None:
    for results in (old, new):
        shift(results, 5.0, -7.0, 90.0)  # far larger than what is compared
    shift(new, -0.02, -0.01, -0.03)
    found = compare(old, new)
    assert row_of(found.table, "ppo").values["difference"] == pytest.approx((-0.02, -0.03, -0.01))
    assert row_of(found.table, "ppo").values["verdict"] == "worse"


@pytest.mark.parametrize(
    ("metric", "key", "factor", "expected"),
    [
        ("kl", "eval/kl_reference_nats", 2.0, "worse"),
        ("images_per_second", "images_per_second", 2.0, "better"),
        ("eval/jpeg_compressibility", "eval/jpeg_compressibility", 2.0, "worse"),  # it is negative
    ],
)
def test_the_better_direction_is_the_metrics_own(
    old: Path, new: Path, metric: str, key: str, factor: float, expected: str
) -> None:
    def scale(rows: Rows, seed: int) -> None:
        for row in rows:
            row |= {key: factor * row[key]} if key in row else {}

    change(new, scale)
    found = compare(old, new, metric)
    assert row_of(found.table, "ppo").values["verdict"] == expected
    assert found.regressed == (expected == "worse")


@pytest.mark.parametrize(
    ("difference", "min_effect", "expected"),
    [
        (Estimate(0.3, 0.1, 0.5), None, "better"),
        (Estimate(-0.3, -0.5, -0.1), None, "worse"),
        (Estimate(0.3, 0.0, 0.5), None, "undecided"),
        (Estimate(0.0, 0.0, 0.0), None, "same"),
        (Estimate(0.3, 0.1, 0.5), 0.3, "better"),
        (Estimate(0.3, 0.1, 0.5), 0.4, "undecided"),  # the truth may be above the smallest effect or below it
        (Estimate(0.3, 0.1, 0.5), 0.6, "same"),
        (Estimate(0.1, -0.1, 0.2), 0.3, "same"),
        (Estimate(0.1, -0.4, 0.2), 0.3, "undecided"),
        (Estimate(-0.3, NAN, NAN), None, "undecided"),
        (Estimate(-0.3, NAN, NAN), 0.0, "worse"),
        (Estimate(-0.3, NAN, NAN), 0.2, "worse"),
        (Estimate(0.3, NAN, NAN), 0.2, "better"),
        (Estimate(-0.3, NAN, NAN), 0.4, "same"),
        (Estimate(0.0, NAN, NAN), 0.0, "same"),
    ],
)
def test_the_verdict_needs_the_interval_and_the_smallest_effect(
    difference: Estimate, min_effect: float | None, expected: str
) -> None:
    assert verdict(difference, False, min_effect) == expected
    opposite = {"better": "worse", "worse": "better"}
    assert verdict(difference, True, min_effect) == opposite.get(expected, expected)


def test_one_seed_decides_only_with_a_smallest_effect(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fabricate_run(tmp_path / name, "ppo", "target_colour", 0)
    shift(tmp_path / "b", -0.2)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (row_of(found.table, "ppo").values["verdict"], found.regressed) == ("undecided", False)
    assert [found.table.cell(row_of(found.table, "ppo"), column) for column in found.table.columns[2:6]] == [
        "1", "0.260", "0.060", "-0.200"
    ]  # fmt: skip
    assert compare(tmp_path / "a", tmp_path / "b", min_effect=0.1).regressed
    assert not compare(tmp_path / "a", tmp_path / "b", min_effect=0.3).regressed


def test_what_only_one_side_has_is_named(old: Path, new: Path) -> None:
    fabricate_run(old, "trpo_penalty", "target_colour", 0)
    for seed in (3, 4, 5, 7):
        fabricate_run(new, "ppo", "target_colour", seed)
    found = compare(old, new)
    assert "Done only in A, and left out: trpo_penalty on target_colour seed 0." in found.table.notes
    assert "Done only in B, and left out: ppo on target_colour seed 3 to 5, 7." in found.table.notes
    assert row_of(found.table, "ppo").values["n"] == 3


def test_a_failed_run_is_named_with_its_reason_and_left_out(old: Path, new: Path) -> None:
    run = next(new.glob("runs/ppo-target_colour-*/seed-1"))
    update(run, "status.json", state="failed", reason="out of memory")
    found = compare(old, new)
    assert row_of(found.table, "ppo").values["n"] == 2
    assert row_of(found.table, "ppo").values["difference"] == (0, 0, 0)
    assert "Done only in A, and left out: ppo on target_colour seed 1." in found.table.notes
    assert "B: not done, and left out: ppo-target_colour failed (out of memory): seed 1." in found.table.notes


@pytest.mark.parametrize("broken", [None, NAN, "absent"])
def test_a_missing_or_nan_metric_is_named_and_left_out(old: Path, new: Path, broken: float | str | None) -> None:
    def spoil(rows: Rows, seed: int) -> None:
        if seed == 2:
            rows[-1] |= {"eval/target_colour": broken}
            if broken == "absent":
                del rows[-1]["eval/target_colour"]

    change(new, spoil)
    shift(old, -0.1, -0.1, 50.0)
    found = compare(old, new, "eval/target_colour")
    assert row_of(found.table, "ppo").values["n"] == 2
    assert row_of(found.table, "ppo").values["difference"] == pytest.approx((0.1, 0.1, 0.1))
    assert "No `eval/target_colour` in B, and left out: ppo on target_colour seed 2." in found.table.notes


def test_a_metric_that_no_pair_has_is_an_error(old: Path, new: Path) -> None:
    for results in (old, new):
        for cell in ("frozen-*", "ppo-*"):
            change(results, lambda rows, seed: [row.pop("images_per_second", None) for row in rows] and None, cell)
    with pytest.raises(ResultsError, match="share has `images_per_second` on both sides"):
        compare(old, new, "images_per_second")


@pytest.mark.parametrize(
    ("metric", "mistake"),
    [
        ("target_color", r"unknown metric 'target_color'. Did you mean 'eval/target_colour'\?"),
        ("queries", "--metric queries: neither direction of it is better"),
        ("eval/newest", "unknown metric 'eval/newest'"),  # which one side alone has
    ],
)
def test_a_metric_that_cannot_be_judged_is_one_line(old: Path, new: Path, metric: str, mistake: str) -> None:
    for cell in ("frozen-*", "ppo-*"):
        change(new, lambda rows, seed: [row.update({"eval/newest": 1.0}) for row in rows[-1:]] and None, cell)
    with pytest.raises(ResultsError, match=mistake) as error:
        compare(old, new, metric)
    assert "\n" not in str(error.value)


def test_nothing_in_common_is_one_line_that_tells_what_there_is(tmp_path: Path) -> None:
    for seed in range(3):
        fabricate_run(tmp_path / "a", "ppo", "target_colour", seed)
        fabricate_run(tmp_path / "b", "ppo", "target_colour", seed + 5)
    with pytest.raises(ResultsError, match="have no done run in common") as error:
        compare(tmp_path / "a", tmp_path / "b")
    assert "a: ppo on target_colour seed 0 to 2. " in str(error.value)
    assert str(error.value).endswith("b: ppo on target_colour seed 5 to 7.")
    assert "\n" not in str(error.value)


def test_commits_and_versions_of_both_sides_are_told(old: Path, new: Path) -> None:
    for path in new.glob("runs/*/*/provenance.json"):
        path.write_text(json.dumps({"torch": "2.14.0", "git_commit": "def5678", "ddpo_bench": "0.2.0"}))
    notes = compare(old, new).table.notes
    assert (
        f"A is `{old}`: 12 of 12 runs done; test processor; threads a run: 1; fp32; torch 2.13.0; commit abc1234."
        in notes
    )
    assert f"B is `{new}`: 12 of 12 runs done; torch 2.14.0; ddpo-bench 0.2.0; commit def5678." in notes


def test_settings_that_changed_are_named(old: Path, new: Path) -> None:
    assert not any("Settings" in note for note in compare(old, new).table.notes)
    for run in new.glob("runs/ppo-*/*"):
        update(run, "config.yaml", epochs=7)
    assert (
        "Settings that differ from A to B: ppo on jpeg_compressibility and ppo on target_colour: epochs 6 to 7."
        in compare(old, new).table.notes
    )


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([3, 1, 2, 0], "0 to 3"), ([7, 8, 1], "1, 7, 8"), ([4], "4"), ([0, 1, 2, 9, 11, 12, 13], "0 to 2, 9, 11 to 13")],
)
def test_seeds_in_a_row_are_written_as_a_range(seeds: list[int], text: str) -> None:
    assert ranges(seeds) == text
