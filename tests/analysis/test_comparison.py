from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import EPOCHS, GAIN, SAMPLES, fabricate_run, plan, row_of, rows_of, update, write_rows

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.comparison import comparison
from ddpo_bench.analysis.tables import Table


def compare(results: Path) -> Table:
    return comparison(collect(results), results.name)


def test_values_are_those_of_the_runs(suite: Path) -> None:
    values = row_of(compare(suite), "ppo").values
    assert values["n"] == 3
    assert values["final"] == pytest.approx((0.27, 0.26, 0.28))
    assert values["difference"] == pytest.approx((0.2, 0.2, 0.2))
    assert values["kl_nats"] == pytest.approx((6.6, 6.0, 7.2))
    assert values["kl"] == pytest.approx((6.6 / 512, 6.0 / 512, 7.2 / 512))
    assert values["queries"] == EPOCHS * SAMPLES
    assert values["seconds"] == pytest.approx((61, 60, 62))
    assert values["images_per_second"] == pytest.approx((13.5, 13.5, 13.5))
    assert values["memory"] == pytest.approx((506, 506, 506))
    assert values["probability"] == (1, 1, 1)
    assert values["beats_baseline"] == "yes"


def test_an_algorithm_that_does_not_separate_from_the_baseline_is_told(suite: Path) -> None:
    for seed in range(3):
        fabricate_run(suite, "policy_gradient", "target_colour", seed)
    assert row_of(compare(suite), "policy_gradient").values["beats_baseline"] == "no"


@pytest.mark.parametrize("state", ["failed", "killed", "running"])
def test_a_run_that_is_not_done_is_named_and_never_averaged(suite: Path, state: str) -> None:
    run = next(suite.glob("runs/ppo-target_colour-*/seed-1"))
    update(run, "status.json", state=state, reason="the reward returned NaN\nat epoch 3")
    table = compare(suite)
    values = row_of(table, "ppo").values
    assert values["n"] == 2
    assert values["final"] == pytest.approx((0.27, 0.26, 0.28))
    assert values["difference"] == pytest.approx((0.2, 0.2, 0.2))
    expected = f"ppo-target_colour {state} (the reward returned NaN at epoch 3): seed 1."
    assert f"Not done, and left out: {expected}" in table.notes
    assert any(note.startswith("17 of 18 runs done") for note in table.notes)


def test_a_cell_without_a_done_run_has_an_empty_row_not_a_zero(suite: Path) -> None:
    for seed in range(3):
        fabricate_run(suite, "sac", "target_colour", seed, state="failed")
    table = compare(suite)
    row = row_of(table, "sac")
    assert row.values["n"] == 0
    assert {table.cell(row, column) for column in table.columns[3:]} == {"–"}


def test_planned_runs_without_a_folder_are_named(suite: Path) -> None:
    plan(suite, seeds=5, cells=1)
    assert "Not done, and left out: frozen-jpeg_compressibility queued: seed 3, 4." in compare(suite).notes


def test_each_setting_is_compared_with_its_own_baseline(tmp_path: Path) -> None:
    for guidance, offset in ((1.0, 0.0), (3.0, 5.0)):
        for algorithm in ("frozen", "ppo"):
            for seed in range(2):
                folder = fabricate_run(tmp_path, algorithm, "target_colour", seed, key=guidance)
                policy = {"guidance_scale": guidance}
                update(folder, "config.yaml", algorithm={"name": algorithm}, policy=policy)
                rows = rows_of(folder)
                rows[-1]["eval/target_colour"] += offset
                write_rows(folder, rows)
    table = compare(tmp_path)
    for guidance in (1.0, 3.0):
        values = row_of(table, f"ppo policy.guidance_scale={guidance}").values
        assert values["difference"] == pytest.approx((GAIN["ppo"],) * 3)


def test_what_only_learning_depends_on_does_not_part_a_cell_from_its_baseline(tmp_path: Path) -> None:
    for algorithm, advantages in (("frozen", "per_prompt"), ("ppo", "per_prompt"), ("ppo", "batch")):
        for seed in range(2):
            folder = fabricate_run(tmp_path, algorithm, "target_colour", seed, of=advantages)
            update(folder, "config.yaml", algorithm={"name": algorithm}, advantages={"name": advantages})
    table = compare(tmp_path)
    for advantages in ("per_prompt", "batch"):
        values = row_of(table, f"ppo advantages={advantages}").values
        assert values["difference"] == pytest.approx((GAIN["ppo"],) * 3)


def test_a_baseline_of_another_plugin_version_is_none(tmp_path: Path) -> None:
    for algorithm, older in (("frozen", "0123456789ab"), ("ppo", "ba9876543210")):
        folder = fabricate_run(tmp_path, algorithm, "target_colour", 0)
        folder.parent.rename(folder.parent.with_name(f"{algorithm}-target_colour-{older}"))
        fabricate_run(tmp_path, algorithm, "target_colour", 0)
    assert not any("difference" in row.values for row in compare(tmp_path).rows)


def test_one_seed_has_no_interval_and_claims_no_win(tmp_path: Path) -> None:
    for algorithm in ("frozen", "ppo"):
        fabricate_run(tmp_path, algorithm, "target_colour", 0)
    table = compare(tmp_path)
    row = row_of(table, "ppo")
    assert "beats_baseline" not in row.values
    assert [table.cell(row, column) for column in table.columns if column.key == "final"] == ["0.260"]


def test_prompts_that_the_model_did_not_see_whole_are_told_under_the_table(suite: Path) -> None:
    def truncate(run: Path, evaluation: int, epoch: int) -> None:
        write_rows(
            run, [row | {"prompts_truncated": epoch if "queries" in row else evaluation} for row in rows_of(run)]
        )
        update(run, "config.yaml", samples_per_epoch=128, evaluation={"prompts": "held_out", "samples": 64})

    runs = sorted(suite.glob("runs/*/*"))
    for run in runs:
        truncate(run, 0, 0)
    assert not any("text encoder" in note for note in compare(suite).notes)
    truncate(runs[0], 16, 64)
    (note,) = [note for note in compare(suite).notes if "text encoder" in note]
    assert note.startswith("Up to 50 % of the prompts of an epoch or an evaluation were longer")


def test_the_table_says_on_which_prompts_it_was(suite: Path) -> None:
    assert "on held-out prompts and noise that seed k shares" in compare(suite).notes[0]
    *most, last = sorted(suite.glob("runs/*/*"))
    for run in most:
        update(run, "config.yaml", "evaluation")  # as before there was a choice
    mixed = "on held-out prompts in some runs and in others on prompts that training draws too and noise that"
    assert mixed in compare(suite).notes[0]
    update(last, "config.yaml", "evaluation")
    assert "training, on prompts that training draws too and noise that seed k shares" in compare(suite).notes[0]


def test_divergences_are_given_in_both_units(suite: Path) -> None:
    assert not any("both units" in note for note in compare(suite).notes)
    for algorithm, nats in (("ppo", 1.6), ("trpo_penalty", 80.0)):
        key = "clip_range" if algorithm == "ppo" else "max_kl"
        for run in suite.glob(f"runs/{algorithm}-*/*"):
            given = {f"algorithm.{key}": {"nats": nats, "mean_units": nats / 512}}
            update(run, "provenance.json", quantities=given)
    assert compare(suite).notes[-2] == (
        "Divergences in both units: ppo clip_range 1.6 nats (0.00313 in mean units); "
        "trpo_penalty max_kl 80 nats (0.156 in mean units)."
    )


def test_runs_that_never_had_an_advantage_are_named_under_the_table(suite: Path) -> None:
    def flatten(run: Path, spread: float) -> None:
        write_rows(run, [row | {"advantage_std": spread} for row in rows_of(run)])

    for run in suite.glob("runs/*/*"):
        flatten(run, 0.9)
    assert not any("advantages were 0" in note for note in compare(suite).notes)
    for algorithm in ("frozen", "ppo"):  # the frozen policy has nothing to learn anyway
        for run in suite.glob(f"runs/{algorithm}-target_colour-*/seed-1"):
            flatten(run, 0.0)
    (note,) = [note for note in compare(suite).notes if "advantages were 0" in note]
    assert note.startswith("ppo-target_colour seed 1, 1 of 3 seeds: all advantages were 0 in every epoch")


def test_runs_whose_gradient_was_not_large_against_adams_epsilon_are_named_under_the_table(tmp_path: Path) -> None:
    for seed, scale in enumerate((0.0, 2e-7, 5e-8)):
        run = fabricate_run(tmp_path, "ppo", "target_colour", seed, adam_epsilon=1e-8)
        write_rows(run, [row | {"grad_rms": scale} for row in rows_of(run)])
    (note,) = [note for note in compare(tmp_path).notes if "adam_epsilon" in note]
    assert note == (
        "ppo-target_colour seed 2, 1 of 3 seeds: the gradient's RMS, 5e-08, is not well above algorithm.adam_epsilon, "
        "1e-08, in 6 of 6 epochs: AdamW hardly adapts its steps. See docs/diagnosis.md#small-gradient."
    )
