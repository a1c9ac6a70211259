"""What optimising cost: the changes, and how the cells of their table say them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fabricate import GAIN, KL_NATS, PRETRAINED, REWARDS, without

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.over_optimisation import KL, Changes, over_optimisation
from ddpo_bench.analysis.report.filters import FALL, NEUTRAL, RISE, number, shade
from ddpo_bench.analysis.report.page import templates

PICTURES = [f"image/{name}" for name in ("brightness", "colourfulness", "contrast", "sharpness")]


def html(changes: Changes | None) -> str:
    template = templates().get_template("over_optimisation.html.j2")
    return str(template.make_module({"changes": changes}).over_optimisation())


def changes_of(suite: Path) -> Changes:
    found = over_optimisation(collect(suite))
    assert found
    return found


def small(value: dict[str, float], unsettled: str = "") -> Changes:
    """Changes of one algorithm on the reward "a", whose pretrained values are all 0.25."""
    index = pd.MultiIndex.from_tuples([("a", "ppo")])
    settled = {name: name != unsettled for name in value}
    pretrained = pd.DataFrame(dict.fromkeys(value, 0.25), ["a"])
    return Changes(pd.DataFrame(value, index), pd.DataFrame(settled, index), pretrained, {"a": "a"})


def test_rewards_come_first_and_the_baseline_has_no_row(suite: Path) -> None:
    changes = changes_of(suite)
    assert list(changes.value.columns) == [*REWARDS, "diversity", *PICTURES, KL]
    assert changes.missing == []
    assert set(changes.value.index) == {(task, label) for task in REWARDS for label in ("ppo", "trpo_penalty")}
    assert changes.pretrained.loc["target_colour", REWARDS[0]] == pytest.approx(PRETRAINED[REWARDS[0]])


@pytest.mark.parametrize("algorithm", ["ppo", "trpo_penalty"])
def test_changes_are_those_from_the_pretrained_model_to_the_last_evaluation(suite: Path, algorithm: str) -> None:
    changes = changes_of(suite)
    value, settled = (frame.loc["target_colour", algorithm] for frame in (changes.value, changes.settled))
    assert value["target_colour"] == pytest.approx(GAIN[algorithm])  # which is the difference to frozen
    assert value["jpeg_compressibility"] == 0
    assert value["diversity"] == pytest.approx(-0.4 * GAIN[algorithm])
    assert value[KL] == pytest.approx(1.1 * KL_NATS[algorithm])
    assert value["image/contrast"] == pytest.approx(0)  # the seeds disagree on the sign
    assert set(settled.index[settled]) == {"target_colour", "diversity", KL}


def test_what_no_run_measured_is_named_and_what_some_lack_is_a_dash(suite: Path) -> None:
    without(suite, "eval/image/")
    without(suite, "eval/diversity", "runs/ppo-*/seed-1")
    page = html(changes_of(suite))
    assert "Not measured in these runs: image statistics." in page
    assert page.count("<td>–</td>") == len(REWARDS)  # ppo, not trpo_penalty
    without(suite, "eval/diversity")
    assert "Not measured in these runs: diversity and image statistics." in html(changes_of(suite))


def test_without_a_run_that_learned_there_is_no_table(suite: Path) -> None:
    baseline = [record for record in collect(suite) if record.algorithm == "frozen"]
    assert html(over_optimisation(baseline)).strip() == ""


def test_colour_says_which_way_and_opacity_how_far() -> None:
    changes = small({"a": -0.2, KL: 3.0})
    for measure, value, colour, opacity in (("a", -0.2, FALL, 0.5), ("a", 0.1, RISE, 0.25), (KL, 3, NEUTRAL, 0.5)):
        assert shade(value, changes, measure) == f"rgba({', '.join(map(str, colour))}, {opacity:.2f})"


def test_the_optimised_reward_is_framed_and_disagreeing_seeds_are_marked() -> None:
    page = html(small({"a": 0.5, "b": 0.5, "c": 1e-17}, unsettled="b"))
    assert page.count('class="trained" style') == page.count('class="unsettled" style') == 1
    assert "<td>+0.000</td>" in page  # what rounds to nothing has no colour


def test_numbers_show_three_digits_of_their_columns_largest() -> None:
    changes = small({"a": -0.02, "b": 1234.0, "c": float("nan")})
    assert [changes.decimals(measure) for measure in "abc"] == [3, 0, 3]
    assert [number(-0.02, 3, "+"), number(0.25, 3), number(-0.0001, 2, "+")] == ["−0.020", "0.250", "+0.00"]
    assert number(float("nan"), 0) == "–"
