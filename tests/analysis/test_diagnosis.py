"""Every rule of a diagnosis on rows that show it and on rows that do not, and how findings are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fabricate import fabricate_run, rows_of, write_rows

from ddpo_bench import cli
from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.diagnosis.findings import RULES, diagnosis, findings
from ddpo_bench.analysis.diagnosis.metrics import Metrics
from ddpo_bench.analysis.records import read_run
from ddpo_bench.analysis.report.page import report
from ddpo_bench.analysis.tabulate import tabulate

PAGE = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text(encoding="utf-8")
PPO = {"name": "ppo", "passes": 1, "minibatches": 5, "clip_range": "1.6 nats", "adam_epsilon": 1e-8}
CONFIG = {
    "algorithm": PPO, "advantages": {"name": "batch", "clip": 5.0}, "samples_per_epoch": 64,
    "sampler": {"name": "ddim", "steps": 10},
}  # fmt: skip
HEALTHY = {
    "ratio_deviation_max": 0.0, "clip_fraction": 0.1, "grad_rms": 2e-4, "reward_std": 0.36, "reward_std_within": 0.3,
    "advantage_std": 1.0, "no_advantage_fraction": 0.0, "advantage_clipped_fraction": 0.0, "kl_penalty": 0.1,
}  # fmt: skip
KL, REWARD = (0.0, 400.0, 500.0, 550.0, 600.0, 580.0), (-2.4, -2.3, -2.2, -2.1, -2.0, -1.9)

UNEQUAL = {"micro_batch": 48}
GROUP = {"config": {"advantages": {"name": "group"}}}
PENALTY = {"algorithm": {"kl_weight": 0.1}}
GROWING = {"kl_reference_nats": (0.0, 80.0, 287.0, 837.0, 868.0, 2870.0)}


def healthy(**columns: Any) -> list[dict[str, Any]]:
    """Six epochs of a run with which nothing is wrong, but for these columns: a value, or one for each epoch."""
    columns = HEALTHY | {"kl_reference_nats": KL, "reward_mean": REWARD} | columns
    cells = {key: value if isinstance(value, tuple) else (value,) * 6 for key, value in columns.items()}
    return [{key: values[n] for key, values in cells.items() if values[n] is not None} for n in range(6)]


def found_in(
    *, algorithm: dict[str, Any] | None = None, config: dict[str, Any] | None = None, end: float = 0.14,
    epochs: int = 6, micro_batch: int = 64, noisy_steps: int = 0, **columns: Any,
) -> list[str]:  # fmt: skip
    settings = CONFIG | (config or {}) | {"algorithm": PPO | (algorithm or {})}
    evaluated = [{"eval/diversity": 0.25}, {"eval/diversity": end}]
    run = Metrics(settings, healthy(**columns)[:epochs], evaluated, micro_batch, noisy_steps)
    return [finding.name for finding in findings(run)]


def test_nothing_is_wrong_with_a_healthy_run_and_the_baseline_is_not_judged() -> None:
    assert found_in() == []
    assert found_in(algorithm={"name": "frozen"}, no_advantage_fraction=1.0, end=0.0) == []
    assert findings(Metrics({}, [], [])) == []


@pytest.mark.parametrize(
    ("name", "shows", "does_not"),
    [
        ("ratio-not-one", {"ratio_deviation_max": 4e-5}, {"ratio_deviation_max": 9e-6}),
        ("ratio-not-one", UNEQUAL | {"ratio_deviation_max": 2e-4}, UNEQUAL | {"ratio_deviation_max": 4e-5}),
        ("ratio-not-one", {"ratio_deviation_max": 4e-5}, {"ratio_deviation_max": 4e-5, "noisy_steps": 9}),
        ("no-advantages", {"no_advantage_fraction": 0.5}, {"no_advantage_fraction": 0.45}),
        ("no-advantages", {"no_advantage_fraction": None, "advantage_std": 0.0}, {"no_advantage_fraction": None}),
        ("no-advantages", {"dpo/tied_fraction": 0.7}, {"dpo/tied_fraction": 0.1, "no_advantage_fraction": 0.9}),
        ("spread-between-prompts", {"reward_std_within": 0.11}, {"reward_std_within": 0.12}),
        ("spread-between-prompts", {"reward_std_within": 0.0}, GROUP | {"reward_std_within": 0.0}),
        ("clipped-advantages", {"advantage_clipped_fraction": 0.06}, {"advantage_clipped_fraction": 0.04}),
        ("small-gradient", {"grad_rms": (2e-4, 9e-8, *[2e-4] * 4)}, {"grad_rms": 0.0}),
        ("clip-never-acts", {"clip_fraction": 0.0}, {"clip_fraction": (0.0,) * 5 + (0.01,)}),
        ("clip-never-acts", {"clip_fraction": 0.0, "epochs": 3}, {"clip_fraction": 0.0, "epochs": 2}),
        ("clip-never-acts", {"clip_fraction": 0.0}, {"clip_fraction": 0.0, "algorithm": {"minibatches": 1}}),
        ("clip-never-acts", {"clip_fraction": 0.0}, {"clip_fraction": 0.0, "algorithm": {"clip_range": 0.0}}),
        ("clip-stops-almost-all", {"clip_fraction": 0.73}, {"clip_fraction": (0.6,) + (0.8,) * 5}),
        ("no-contrast", {"nft/contrast": (0.0,) * 3 + (1e-9,) * 3}, {"nft/contrast": (0.0,) * 2 + (1e-9,) * 4}),
        ("kl-without-effect", PENALTY | {"kl_penalty": 0.0}, PENALTY),
        ("kl-without-effect", {"awm/distance_pretrained": 0.0, "algorithm": {"beta": 0.1}}, {"kl_penalty": 0.0}),
        ("kl-runs-away", GROWING | {"reward_mean": (2.44, 2.30, 2.28, 2.22, 2.35, 2.19)}, GROWING),
        ("kl-runs-away", GROWING | {"reward_mean": -1.0}, {"reward_mean": -1.0}),
        ("collapsed-policy", {"end": 0.04}, {"end": 0.07}),
    ],
)  # fmt: skip
def test_a_rule_finds_what_it_is_named_after_and_nothing_else(
    name: str, shows: dict[str, Any], does_not: dict[str, Any]
) -> None:
    assert found_in(**shows) == [name]
    assert found_in(**does_not) == []


def test_the_advantages_of_a_prompt_are_no_longer_those_of_an_epoch_once_its_buffer_is_full() -> None:
    for count, expected in ((16, ["spread-between-prompts"]), (6, [])):
        advantages = {"name": "per_prompt", "min_count": count}
        assert found_in(reward_std_within=0.05, config={"advantages": advantages}) == expected


def test_every_rule_has_its_section_and_no_section_is_left_over() -> None:
    assert sorted(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) == sorted(
        rule.__name__.replace("_", "-") for rule in RULES
    )


def test_a_finding_is_one_line_for_a_cell_however_many_seeds_show_it(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in suite.glob("runs/trpo_penalty-target_colour-*/seed-[12]"):
        *rows, last = rows_of(run)
        write_rows(run, [*rows, last | {"eval/diversity": 0.04}])
    expected = (
        "trpo_penalty-target_colour seed 1, 2 of 3 seeds: eval/diversity fell from 0.25 to 0.04: samples of one prompt "
        "have become nearly alike. See docs/diagnosis.md#collapsed-policy."
    )
    table = tabulate(suite)
    assert [note for note in table.notes if "docs/diagnosis.md" in note] == [expected]
    assert expected in table.to_markdown()
    assert expected in report(suite, table, {}, collect(suite), {})
    assert cli.main(["status", str(suite)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["diagnosis:", f"  {expected}"]


def test_a_single_run_is_not_counted(tmp_path: Path) -> None:
    run = fabricate_run(tmp_path, "ppo", "target_colour", 3)
    write_rows(run, [row | {"ratio_deviation_max": 0.01} for row in rows_of(run)])
    (line,) = diagnosis([read_run(run)])
    assert line.startswith("ppo-target_colour seed 3: before the first update the ratio deviated from 1 by up to 0.01")
