"""What optimising cost: the changes, and how the cells of their table say them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fabricate import GAIN, KL_NATS, PRETRAINED, REWARDS, without

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.over_optimisation import KL, Change, Changes, Measured, over_optimisation
from ddpo_bench.analysis.report.filters import FALL, NEUTRAL, RISE, number, shade
from ddpo_bench.analysis.report.page import templates

PICTURES = [f"image/{name}" for name in ("brightness", "colourfulness", "contrast", "sharpness")]


def html(changes: Changes) -> str:
    template = templates().get_template("over_optimisation.html.j2")
    return str(template.make_module({"changes": changes}).over_optimisation())


def changes_of(suite: Path, label: str) -> dict[str, Change | None]:
    """By measure, on target_colour."""
    found = over_optimisation(collect(suite)).rows["target_colour"][label]
    return {measure.key: change for measure, change in found.items()}


def small(**found: Change | None) -> tuple[Changes, list[Measured]]:
    """Changes of one algorithm on one reward, whose pretrained values are all 0.25."""
    measures = [Measured(key, key, "") for key in found]
    row = dict(zip(measures, found.values(), strict=True))
    return Changes(measures, [], {"t": dict.fromkeys(measures, 0.25)}, {"t": {"ppo": row}}), measures


def test_rewards_come_first_and_the_baseline_has_no_row(suite: Path) -> None:
    changes = over_optimisation(collect(suite))
    assert [measure.key for measure in changes.measures] == [*REWARDS, "diversity", *PICTURES, KL]
    assert changes.groups() == [("judged by", 2), ("", 1), ("image statistics", 4), ("", 1)]
    assert changes.missing == []
    assert {task: [*rows] for task, rows in changes.rows.items()} == {task: ["ppo", "trpo_penalty"] for task in REWARDS}
    assert changes.pretrained["target_colour"][changes.measures[0]] == pytest.approx(PRETRAINED[REWARDS[0]])


@pytest.mark.parametrize("algorithm", ["ppo", "trpo_penalty"])
def test_changes_are_those_from_the_pretrained_model_to_the_last_evaluation(suite: Path, algorithm: str) -> None:
    found = changes_of(suite, algorithm)
    assert found["target_colour"] == (pytest.approx(GAIN[algorithm]), True, True)  # which is the difference to frozen
    assert found["jpeg_compressibility"] == (0, False, False)
    assert found["diversity"] == (pytest.approx(-0.4 * GAIN[algorithm]), True, False)
    assert found[KL] == (pytest.approx(1.1 * KL_NATS[algorithm]), True, False)
    assert found["image/contrast"] == (pytest.approx(0), False, False)  # the seeds disagree on the sign


def test_what_no_run_measured_is_named_and_what_some_lack_is_a_dash(suite: Path) -> None:
    without(suite, "eval/image/")
    without(suite, "eval/diversity", "runs/ppo-*/seed-1")
    assert changes_of(suite, "ppo")["diversity"] is None
    assert changes_of(suite, "trpo_penalty")["diversity"] is not None
    page = html(over_optimisation(collect(suite)))
    assert "Not measured in these runs: image statistics." in page
    assert page.count("<td>–</td>") == len(REWARDS)
    without(suite, "eval/diversity")
    assert "Not measured in these runs: diversity and image statistics." in html(over_optimisation(collect(suite)))


def test_without_a_run_that_learned_there_is_no_table(suite: Path) -> None:
    baseline = [record for record in collect(suite) if record.algorithm == "frozen"]
    assert html(over_optimisation(baseline)).strip() == ""


def test_colour_says_which_way_and_opacity_how_far() -> None:
    changes, (diversity, kl) = small(diversity=Change(-0.2, True, False), kl_reference_nats=Change(3.0, True, False))
    for measure, value, colour, opacity in (
        (diversity, -0.2, FALL, 0.5),
        (diversity, 0.1, RISE, 0.25),
        (kl, 3, NEUTRAL, 0.5),
    ):
        shown = shade(Change(value, True, False), changes, measure)
        assert shown == f"rgba({', '.join(map(str, colour))}, {opacity:.2f})"


def test_the_optimised_reward_is_framed_and_disagreeing_seeds_are_marked() -> None:
    changes, _ = small(a=Change(0.5, True, True), b=Change(0.5, False, False), c=Change(1e-17, True, False))
    page = html(changes)
    assert page.count('class="trained" style') == page.count('class="unsettled" style') == 1
    assert "<td>+0.000</td>" in page  # what rounds to nothing has no colour


def test_numbers_show_three_digits_of_their_columns_largest() -> None:
    changes, measures = small(a=Change(-0.02, True, False), b=Change(1234.0, True, False), c=None)
    assert [changes.decimals(measure) for measure in measures] == [3, 0, 3]
    assert [number(-0.02, 3, "+"), number(0.25, 3), number(-0.0001, 2, "+")] == ["−0.020", "0.250", "+0.00"]
    assert number(math.nan, 0) == "–"
