"""Speed and utilisation of finished runs, by hand from rows with known seconds."""

import fabricate
import pytest

from ddpo_bench import cli
from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.overhead import profile
from ddpo_bench.analysis.utilisation import Computed
from ddpo_bench.commands.profile import computed_by
from ddpo_bench.config import run_config

SECONDS = 6 * (4 + 3) + 2 * (2 + 0.5)  # sampling and learning; evaluations' sampling and KL


@pytest.fixture
def results(tmp_path):
    folder = fabricate.fabricate_suite(tmp_path / "results" / "mine", ("frozen", "ppo"), seeds=1)
    fabricate.measure_parts(folder)
    return folder


def figures(table, row):
    return [table.cell(row, column) for column in table.columns if column.key in ("memory", "speed", "mfu")]


def test_utilisation_is_counted_operations_over_the_network_phases_and_the_peak(results):
    runs = {(run.algorithm, run.reward): run.folder for run in collect(results)}
    ppo, frozen = runs["ppo", "target_colour"], runs["frozen", "target_colour"]
    computed = {ppo: Computed(SECONDS * 3e12, 4e12), frozen: Computed(SECONDS * 1e12, None)}
    table = profile(collect(results), "mine", results, None, computed)
    rows = {(row.group, row.values["algorithm"]): figures(table, row) for row in table.rows}
    assert rows["target_colour", "ppo"] == ["506", "3.00", "75.0"]
    assert rows["target_colour", "frozen"] == ["506", "1.00", "–"]
    assert rows["jpeg_compressibility", "ppo"] == ["506", "–", "–"]
    assert rows["whole suite", "all"] == ["506", "2.00", "75.0"]
    assert [note.split(":")[0] for note in table.notes[-2:]] == ["No speed for 2 of 4 runs", "No MFU for 1 of 4 runs"]


def test_the_command_counts_a_finished_run_and_measures_the_product_here(tiny_model, tmp_path, capsys, monkeypatch):
    from ddpo_bench.preflight.flops import run_flops
    from ddpo_bench.training.trainer import train

    policy = {"name": "stable_diffusion", "model": str(tiny_model), "precision": "fp32"}
    config = run_config(
        {"policy": policy, "epochs": 1, "samples_per_epoch": 2, "samples_per_prompt": 2, "micro_batch": 2,
         "sampler": {"name": "ddim", "steps": 2}, "evaluation": {"samples": 2}}, "test"
    )  # fmt: skip
    results = tmp_path / "results" / "mine"
    train(config, results / "runs" / "ppo-0123456789ab" / "seed-0")
    (record,) = collect(results)
    (known,) = computed_by([record]).values()
    assert known.flops == run_flops(config)
    assert known.peak > 1e8
    monkeypatch.setenv("COLUMNS", "300")
    capsys.readouterr()
    assert cli.main(["profile", str(results)]) == 0
    printed = capsys.readouterr()
    assert "MFU" in printed.out.split("Overhead")[0]
    assert "No speed" not in printed.out
    assert "No MFU" not in printed.out
    assert printed.err == ""


def test_a_run_that_cannot_be_counted_is_left_out():
    from ddpo_bench.preflight.utilisation import computed

    assert computed({"algorithm": {"name": "of another version"}}, {}) is None
    assert computed({"policy": {"name": "stable_diffusion", "model": "nobody/nothing"}}, {}) is None
