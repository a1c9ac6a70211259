from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate_run, rows_of, write_rows
from hypothesis import given
from hypothesis import strategies as st

from ddpo_bench.analysis.budget import reward_at
from ddpo_bench.analysis.tables import Row, Table
from ddpo_bench.analysis.tabulate import tabulate
from ddpo_bench.run_folder.places import ResultsError

# (queries, seconds of the epoch, KL, reward), epoch by epoch
CURVES = {
    ("frozen", 0): [(10, 1.0, 0.0, 0.5), (20, 1.0, 0.0, 0.6)],
    ("ppo", 0): [(10, 3.0, 0.0, 1.0), (20, 3.0, 5.0, 2.0), (30, 3.0, 9.0, 3.0), (40, 3.0, 7.0, 4.0)],
    ("sac", 0): [(10, 6.0, 0.0, 1.5), (20, 6.0, 20.0, 2.5), (30, 6.0, 30.0, 3.5)],
}


def make(results: Path, curves: dict[tuple[str, int], list[tuple[int, float, float, float]]]) -> Path:
    for (algorithm, seed), curve in curves.items():
        folder = fabricate_run(results, algorithm, "target_colour", seed)
        first, *_, last = rows_of(folder)
        rows = [
            {"epoch": epoch, "queries": queries, "reward_mean": reward, "kl_reference_nats": kl,
             "seconds_sampling": seconds / 2, "seconds_reward": seconds / 4, "seconds_learning": seconds / 4}
            for epoch, (queries, seconds, kl, reward) in enumerate(curve, start=1)
        ]  # fmt: skip
        write_rows(folder, [first, *rows, last])
    return results


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    return make(tmp_path / "uneven", CURVES)


def rewards(table: Table) -> dict[str, float]:
    return {str(row.values["algorithm"]): figure(row, "reward_at_budget") for row in table.rows}


def figure(row: Row, key: str) -> float:
    value = row.values.get(key)
    return float("nan") if value is None else float(value[0]) if isinstance(value, tuple) else float(value)


@pytest.mark.parametrize(
    ("budget", "at", "expected"),
    [
        ("queries", None, {"frozen": 0.6, "ppo": 3.0, "sac": 3.5}),  # sac ends at 30 queries
        ("queries", 25.0, {"frozen": 0.6, "ppo": 2.0, "sac": 2.5}),  # what 25 queries paid for
        ("queries", 10.0, {"frozen": 0.5, "ppo": 1.0, "sac": 1.5}),
        ("seconds", None, {"frozen": 0.6, "ppo": 4.0, "sac": 2.5}),  # ppo ends at 12 s
        ("seconds", 6.5, {"frozen": 0.6, "ppo": 2.0, "sac": 1.5}),
        ("kl", None, {"frozen": 0.6, "ppo": 4.0, "sac": 1.5}),  # ppo went to 9 nats at most
        ("kl", 8.0, {"frozen": 0.6, "ppo": 2.0, "sac": 1.5}),  # ppo's 7 nats come after its 9
        ("kl", 25.0, {"frozen": 0.6, "ppo": 4.0, "sac": 2.5}),  # ppo stayed within it
    ],
)
def test_the_reward_at_an_equal_budget(uneven: Path, budget: str, at: float | None, expected: dict[str, float]) -> None:
    assert rewards(tabulate(uneven, budget=budget, at=at)) == expected


def test_the_heading_the_column_and_the_note_say_which_budget(uneven: Path) -> None:
    table = tabulate(uneven, budget="queries")
    assert table.title == "uneven: training reward by algorithm at 30 images"
    assert {row.values["budget"] for row in table.rows} == {30}
    assert table.notes[0].startswith("Training reward: `reward_mean` of a run's last epoch within equal queries")
    table = tabulate(uneven, budget="seconds")
    assert table.title == "uneven: training reward by algorithm at 12 s"
    assert {figure(row, "budget") for row in table.rows} == {12.0}


def test_each_reward_has_its_own_budget(uneven: Path) -> None:
    for algorithm in ("frozen", "ppo"):
        fabricate_run(uneven, algorithm, "jpeg_compressibility", 0)  # 192 queries
    table = tabulate(uneven, budget="queries")
    assert {(row.group, row.values["budget"]) for row in table.rows} == {
        ("jpeg_compressibility", 192),
        ("target_colour", 30),
    }
    assert table.title.endswith("at 30 to 192 images")


def test_the_shortest_run_of_any_seed_sets_the_budget(tmp_path: Path) -> None:
    results = make(tmp_path, CURVES | {("ppo", 1): [(10, 3.0, 0.0, 1.2), (20, 3.0, 4.0, 2.2)]})
    assert rewards(tabulate(results, budget="queries"))["ppo"] == pytest.approx((2.0 + 2.2) / 2)


def test_a_failed_run_sets_no_budget(uneven: Path) -> None:
    before = tabulate(uneven, budget="queries")
    folder = fabricate_run(uneven, "sac", "target_colour", 1, state="failed")
    write_rows(folder, [row for row in rows_of(folder) if row["epoch"] == 1])
    after = tabulate(uneven, budget="queries")
    assert after.to_csv() == before.to_csv()


def test_a_run_that_did_not_reach_the_budget_is_named_and_its_cell_empty(uneven: Path) -> None:
    table = tabulate(uneven, budget="queries", at=35)
    assert next(row for row in table.rows if row.values["algorithm"] == "sac").values["reward_at_budget"] is None
    assert any(note.startswith("No training reward at 35 images: sac-target_colour seed 0.") for note in table.notes)
    assert rewards(table)["ppo"] == 3.0


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-1, 1)), max_size=10), st.floats(0, 25))
def test_reward_at_a_budget_is_the_last_that_it_paid_for(points: list[tuple[int, float]], budget: float) -> None:
    points = sorted(points, key=lambda point: point[0])
    within = [reward for spent, reward in points if spent <= budget]
    found = reward_at(np.array([spent for spent, _ in points]), np.array([reward for _, reward in points]), budget)
    assert found == within[-1] if within else np.isnan(found)


def test_a_budget_that_no_run_reached_is_one_line(uneven: Path) -> None:
    with pytest.raises(ResultsError, match=r"^--at 50: no run got there; the furthest reached 40 images\.$"):
        tabulate(uneven, budget="queries", at=50)


def test_a_curve_that_lacks_the_budget_is_named_with_its_file(uneven: Path) -> None:
    path = next(uneven.glob("runs/sac-*/seed-0/metrics.jsonl"))
    path.write_text(path.read_text().replace('kl_reference_nats": 20.0', 'other": 1.0'))
    with pytest.raises(ResultsError, match=r"metrics.jsonl: lacks kl_reference_nats; --budget kl cannot place this"):
        tabulate(uneven, budget="kl")


def test_without_a_learning_run_there_is_no_budget(tmp_path: Path) -> None:
    fabricate_run(tmp_path, "frozen", "target_colour", 0)
    with pytest.raises(ResultsError, match="no run that learns is done"):
        tabulate(tmp_path, budget="queries")
