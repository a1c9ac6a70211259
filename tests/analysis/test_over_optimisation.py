"""What optimising cost: the figures of the panel, and how its cells say them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fabricate import GAIN, KL_NATS, PRETRAINED, REWARDS, without

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.over_optimisation import Change, Panel, PanelRow, hacking_panel
from ddpo_bench.analysis.report.over_optimisation import FALL, NEUTRAL, RISE, change_cell, figure, panel_html


def change(suite: Path, task: str, label: str, measure: str) -> Change | None:
    rows = {row.label: row for row in hacking_panel(collect(suite)).rows[task]}
    return rows[label].changes[measure]


def test_rewards_come_first_and_the_baseline_has_no_row(suite: Path) -> None:
    panel = hacking_panel(collect(suite))
    pictures = [f"image/{name}" for name in ("brightness", "colourfulness", "contrast", "sharpness")]
    assert panel.measures == [*REWARDS, "diversity", *pictures, "kl_reference_nats"]
    assert panel.missing == []
    assert {task: [row.label for row in rows] for task, rows in panel.rows.items()} == {
        task: ["ppo", "trpo_penalty"] for task in REWARDS
    }
    assert panel.pretrained["target_colour"]["jpeg_compressibility"] == pytest.approx(
        PRETRAINED["jpeg_compressibility"]
    )


@pytest.mark.parametrize("algorithm", ["ppo", "trpo_penalty"])
def test_changes_are_those_from_the_pretrained_model_to_the_last_evaluation(suite: Path, algorithm: str) -> None:
    trained = change(suite, "target_colour", algorithm, "target_colour")
    assert trained == Change(pytest.approx(GAIN[algorithm]), settled=True, trained=True)
    assert change(suite, "target_colour", algorithm, "jpeg_compressibility") == Change(0, settled=False, trained=False)
    diversity = change(suite, "target_colour", algorithm, "diversity")
    assert diversity == Change(pytest.approx(-0.4 * GAIN[algorithm]), settled=True, trained=False)
    kl = change(suite, "target_colour", algorithm, "kl_reference_nats")
    assert kl == Change(pytest.approx(1.1 * KL_NATS[algorithm]), settled=True, trained=False)


def test_the_change_is_the_difference_to_frozen(suite: Path) -> None:
    records = [record for record in collect(suite) if record.task == "target_colour"]
    final = {(record.algorithm, record.seed): record.held_out("target_colour") for record in records}
    by_seed = [final["ppo", seed] - final["frozen", seed] for seed in range(3)]
    found = change(suite, "target_colour", "ppo", "target_colour")
    assert found is not None
    assert found.value == pytest.approx(sum(by_seed) / 3)


def test_seeds_that_disagree_on_the_sign_are_not_settled(suite: Path) -> None:
    found = change(suite, "target_colour", "ppo", "image/contrast")  # -0.2, 0 and 0.2
    assert found == Change(pytest.approx(0), settled=False, trained=False)


def test_what_no_run_measured_is_named_and_what_some_lack_is_a_dash(suite: Path) -> None:
    without(suite, "eval/image/")
    without(suite, "eval/diversity", "runs/ppo-*/seed-1")
    panel = hacking_panel(collect(suite))
    assert panel.missing == ["image statistics"]
    assert change(suite, "target_colour", "ppo", "diversity") is None
    assert change(suite, "target_colour", "trpo_penalty", "diversity") is not None
    assert "Not measured in these runs: image statistics." in panel_html(panel)
    assert change_cell(None, panel, "diversity") == "<td>–</td>"


def test_old_results_give_a_panel_of_their_rewards_and_kl(suite: Path) -> None:
    without(suite, "eval/image/")
    without(suite, "eval/diversity")
    panel = hacking_panel(collect(suite))
    assert panel.measures == [*REWARDS, "kl_reference_nats"]
    assert "Not measured in these runs: diversity and image statistics." in panel_html(panel)


def test_without_a_run_that_learned_there_is_no_panel(suite: Path) -> None:
    assert panel_html(hacking_panel([record for record in collect(suite) if record.algorithm == "frozen"])) == ""


@pytest.mark.parametrize(
    ("measure", "value", "colour", "opacity"),
    [("diversity", -0.2, FALL, 0.5), ("diversity", 0.1, RISE, 0.25), ("kl_reference_nats", 3.0, NEUTRAL, 0.5)],
)
def test_colour_says_which_way_and_opacity_how_far(
    measure: str, value: float, colour: tuple[int, int, int], opacity: float
) -> None:
    largest = {"diversity": Change(-0.2, True, False), "kl_reference_nats": Change(3.0, True, False)}
    panel = Panel(
        [*largest], [], {"a": {"diversity": 0.25, "kl_reference_nats": 0}}, {"a": [PanelRow("ppo", {**largest})]}
    )
    red, green, blue = colour
    cell = change_cell(Change(value, True, False), panel, measure)
    assert f"rgba({red}, {green}, {blue}, {opacity:.2f})" in cell


def test_the_optimised_reward_is_framed_and_disagreeing_seeds_are_marked() -> None:
    panel = Panel(["a"], [], {"a": {"a": 1.0}}, {"a": [PanelRow("ppo", {"a": Change(0.5, True, True)})]})
    assert 'class="trained"' in change_cell(Change(0.5, True, True), panel, "a")
    assert 'class="unsettled"' in change_cell(Change(0.5, False, False), panel, "a")
    assert "class" not in change_cell(Change(0.5, True, False), panel, "a")


def test_a_change_that_rounds_to_nothing_has_no_colour() -> None:
    rounding = Change(1e-17, True, False)
    panel = Panel(["a"], [], {"t": {"a": 0.5}}, {"t": [PanelRow("ppo", {"a": rounding})]})
    assert change_cell(rounding, panel, "a") == "<td>+0.000</td>"


def test_figures_show_three_digits_of_their_columns_largest() -> None:
    changes = {"a": Change(-0.02, True, False), "b": Change(1234.0, True, False), "c": None}
    panel = Panel([*changes], [], {"t": {"a": 0.25, "b": 0.0, "c": math.nan}}, {"t": [PanelRow("ppo", {**changes})]})
    assert [panel.decimals(measure) for measure in panel.measures] == [3, 0, 0]
    assert figure(-0.02, 3, "+") == "−0.020"
    assert figure(0.25, 3) == "0.250"
    assert figure(-0.0001, 2, "+") == "+0.00"
    assert figure(math.nan, 0) == "–"
