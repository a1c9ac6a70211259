from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricate import GAIN, fabricate_run, fabricate_suite, final_reward
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ddpo_bench.analysis.cells import ALL_REWARDS
from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.common_scale import no_common_scale, on_common_scale
from ddpo_bench.analysis.plots import improvement, intervals
from ddpo_bench.analysis.plots.improvement import improvement_intervals
from ddpo_bench.analysis.plots.intervals import draw_runs, reward_intervals
from ddpo_bench.analysis.plots.shared import COLOURS, appearance
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import estimate, probability_of_improvement

TASK = "target_colour"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in place of their files."""
    figures: list[Figure] = []
    for module in (intervals, improvement):
        monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure))
    return figures


def of(records: list[RunRecord], algorithm: str, task: str = TASK) -> list[float]:
    return [record.final for record in records if record.algorithm == algorithm and record.task == task]


def bars(axes: Axes, colour: str) -> dict[float, tuple[float, float]]:
    """Row to the ends of the horizontal bar of a colour."""
    lines = [line for line in axes.lines if to_hex(line.get_color()) == colour and len(line.get_xdata()) == 2]
    return {float(y[0]): (x[0], x[1]) for x, y in (line.get_data() for line in lines) if y[0] == y[1]}


def dots(axes: Axes) -> dict[float, float]:
    """Row to where its large dot is."""
    return {float(line.get_ydata()[0]): float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}


def test_a_row_is_the_estimate_of_its_seeds(suite: Path) -> None:
    records = collect(suite)
    runs = [record for record in records if record.algorithm == "ppo" and record.task == TASK]
    axes = Figure().subplots()
    draw_runs(axes, 1, runs, appearance(records, "ppo"))
    found = estimate(of(records, "ppo"))
    assert bars(axes, COLOURS["ppo"])[1] == pytest.approx((found.low, found.high))
    assert dots(axes)[1] == pytest.approx(found.value)
    assert np.asarray(axes.collections[0].get_offsets())[:, 0] == pytest.approx(of(records, "ppo"))
    assert [text.get_text() for text in axes.texts] == ["n = 3"]


def test_frozen_is_a_line_through_every_row(suite: Path, drawn: list[Figure]) -> None:
    reward_intervals(collect(suite), Path())
    frozen = [final_reward("frozen", TASK, seed) for seed in range(3)]
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    through = [line for line in panels[TASK].lines if list(line.get_ydata()) == [0, 1]]
    assert [line.get_xdata()[0] for line in through] == pytest.approx([np.mean(frozen)])
    assert [label.get_text() for label in panels["jpeg_compressibility"].get_yticklabels()] == [
        "frozen",
        "ppo",
        "trpo_penalty",
    ]


def test_one_seed_has_a_dot_and_no_bar(tmp_path: Path, drawn: list[Figure]) -> None:
    reward_intervals(collect(fabricate_suite(tmp_path / "algos", seeds=1)), Path())
    assert all(not bars(axes, COLOURS["ppo"]) and len(dots(axes)) == 3 for axes in drawn[0].axes)


def test_every_pair_is_drawn_once_and_over_all_rewards(suite: Path, drawn: list[Figure]) -> None:
    records = collect(suite)
    improvement_intervals(records, Path())
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    assert list(panels) == ["jpeg_compressibility", TASK, ALL_REWARDS]
    names = [label.get_text() for label in panels["jpeg_compressibility"].get_yticklabels()]
    assert names == ["ppo > frozen", "trpo_penalty > frozen", "trpo_penalty > ppo"]
    found = probability_of_improvement([of(records, "trpo_penalty")], [of(records, "ppo")])
    assert 0 < found.value < 0.5
    assert dots(panels[TASK])[2] == pytest.approx(found.value)
    assert bars(panels[TASK], COLOURS["trpo_penalty"])[2] == pytest.approx((found.low, found.high), abs=0.02)
    both = [dots(panels[task])[2] for task in ("jpeg_compressibility", TASK)]
    assert dots(panels[ALL_REWARDS])[2] == pytest.approx(np.mean(both))
    assert [text.get_text() for text in panels[ALL_REWARDS].texts] == ["n = 6 : 6"] * 3


def test_a_pair_that_lacks_a_side_is_left_empty(suite: Path, drawn: list[Figure]) -> None:
    records = [record for record in collect(suite) if not (record.algorithm == "trpo_penalty" and record.task == TASK)]
    improvement_intervals(records, Path())
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    assert {title: len(dots(axes)) for title, axes in panels.items()} == {
        "jpeg_compressibility": 3,
        TASK: 1,
        ALL_REWARDS: 1,
    }


def test_all_rewards_together_are_on_one_scale(suite: Path, drawn: list[Figure]) -> None:
    records = collect(suite)
    scores = on_common_scale(records)
    assert np.mean(scores["frozen"]) == pytest.approx(0)
    assert [np.mean(task) for task in scores["ppo"]] == pytest.approx([1, 1])
    gained = np.array(of(records, "trpo_penalty")) - np.mean(of(records, "frozen"))
    assert list(scores["trpo_penalty"][1]) == pytest.approx(list(gained / GAIN["ppo"]))
    reward_intervals(records, Path())
    (panel,) = [axes for axes in drawn[0].axes if axes.get_title("left") == ALL_REWARDS]
    assert dots(panel) == pytest.approx({0: 0, 1: 1, 2: GAIN["trpo_penalty"] / GAIN["ppo"]})
    found = estimate(scores["ppo"])
    assert bars(panel, COLOURS["ppo"])[1] == pytest.approx((found.low, found.high))
    assert [text.get_text() for text in panel.texts] == ["n = 6"] * 3


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (lambda run: run.algorithm != "frozen", "frozen, the zero of their scale, is not done"),
        (
            lambda run: run.algorithm != "trpo_penalty" or run.task != TASK,
            "nothing is done of trpo_penalty on target_colour",
        ),
        (lambda run: run.algorithm == "frozen", "nothing beats frozen on jpeg_compressibility and target_colour"),
    ],
)
def test_why_there_is_no_scale_is_one_sentence(suite: Path, keep, reason: str) -> None:  # type: ignore[no-untyped-def]
    sentence = no_common_scale([record for record in collect(suite) if keep(record)])
    assert reason in sentence
    assert sentence.count(".") == 1


def test_several_frozen_cells_are_no_zero(suite: Path) -> None:
    for seed in range(3):
        fabricate_run(suite, "frozen", TASK, seed, steps=20)
    assert "there are several frozen cells" in no_common_scale(collect(suite))
