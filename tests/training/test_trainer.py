"""One training on the tiny model: what it writes, and that it repeats itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from run_rows import numbers, rows_of
from stopped_runs import MakeConfig, status_of

from ddpo_bench.reward_bases.judges import seated
from ddpo_bench.training import record
from ddpo_bench.training.trainer import train

EPOCHS = 3
COMMON = {
    "epoch", "queries", "reward_mean", "reward_std", "reward_max", "advantage_std", "kl_reference", "kl_reference_nats",
    "seconds_sampling", "seconds_reward", "seconds_kl", "seconds_learning", "images_per_second", "memory_peak_mb",
    "measuring_fraction", "prompts_truncated", "no_advantage_fraction", "advantage_clipped_fraction",
}  # fmt: skip
WITHIN = "reward_std_within"  # of epochs that draw a prompt twice
LEARNING = {"ratio_deviation_max", "kl_behaviour", "kl_behaviour_nats", "grad_norm", "grad_rms", "loss"}
EVALUATION = {
    "epoch", "eval/kl_reference", "eval/kl_reference_nats", "eval/diversity", "eval/image/brightness",
    "eval/image/contrast", "eval/image/colourfulness", "eval/image/sharpness", "seconds_eval_sampling",
    "seconds_eval_reward", "seconds_eval_kl", "seconds_eval_files", "prompts_truncated",
} | {f"eval/{judge}" for judge in seated(("shipped",), ["rain"], [{}])}  # fmt: skip


def test_every_epoch_has_a_row_under_the_documented_names(finished: Path) -> None:
    rows = [row for row in rows_of(finished) if "queries" in row]
    assert [(row["epoch"], row["queries"]) for row in rows] == [(1, 4), (2, 8), (3, 12)]
    assert all(row.keys() - {WITHIN} == COMMON | LEARNING | {"clip_fraction", "kl_k1", "kl_k3"} for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())


def test_the_policy_is_judged_under_every_shipped_reward_before_and_after(finished: Path) -> None:
    rows = [row for row in rows_of(finished) if "queries" not in row]
    assert [row["epoch"] for row in rows] == [0, EPOCHS]
    assert all(row.keys() == EVALUATION for row in rows)
    assert rows[0]["eval/kl_reference"] < 1e-9 < rows[1]["eval/kl_reference"]
    assert rows[1]["eval/kl_reference_nats"] == pytest.approx(256 * rows[1]["eval/kl_reference"])
    assert rows[0]["eval/jpeg_compressibility"] == -rows[0]["eval/jpeg_incompressibility"]


def test_the_ratio_is_one_before_the_first_update_and_the_policy_the_pretrained_one(finished: Path) -> None:
    first, second = rows_of(finished)[1:3]
    assert first["ratio_deviation_max"] < 1e-5
    assert first["kl_reference"] < 1e-9 < second["kl_reference"]
    assert first["kl_behaviour"] > 1e-9


def test_the_folder_tells_what_was_run_on_what_and_how_it_ended(finished: Path, tiny_run: MakeConfig) -> None:
    assert yaml.safe_load((finished / "config.yaml").read_text()) == tiny_run().to_dict()
    known = json.loads((finished / "provenance.json").read_text())
    assert known["precision"] == "float32"
    assert known["schedule"] == "DDIMScheduler of the model, sampled by ddim"
    assert known["noisy_steps"] == yaml.safe_load((finished / "config.yaml").read_text())["sampler"]["steps"]
    assert known["quantities"] == {"algorithm.clip_range": {"nats": 1.6, "mean_units": 1.6 / 256}}
    assert {
        "ddpo_bench",
        "torch",
        "diffusers",
        "python",
        "platform",
        "processor",
        "threads",
        "git_commit",
    } < known.keys()
    status = status_of(finished)
    assert (status["state"], status["reason"], status["epoch"], status["epochs"]) == ("done", None, EPOCHS, EPOCHS)
    assert status["seconds"] > 0
    assert status["started"] <= status["finished"]


def test_the_parts_of_a_runs_time_are_together_no_more_than_the_whole(finished: Path) -> None:
    status = status_of(finished)
    overheads = {key: value for key, value in status.items() if key.startswith("seconds_")}
    assert overheads.keys() == {"seconds_start", "seconds_checkpoint", "seconds_files"}
    measured = [value for row in rows_of(finished) for key, value in row.items() if key.startswith("seconds_")]
    parts = [*overheads.values(), *measured]
    assert min(parts) >= 0 < min(overheads.values())
    assert 0.8 * status["seconds"] < sum(parts) <= status["seconds"]


def test_pictures_of_the_evaluations_are_a_grid_that_the_index_explains(finished: Path) -> None:
    index = json.loads((finished / "samples" / "index.json").read_text())
    assert index["columns"] == 8
    assert index["tile"] == [16, 16]
    assert len(index["prompts"]) == 3
    pictures = sorted((finished / "samples").glob("*.png"))
    assert [picture.name for picture in pictures] == ["epoch-0000.png", "epoch-0003.png"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.size == (8 * 16, 16)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    train(tiny_run(), tmp_path / "same")
    train(tiny_run("seed=1", "epochs=1"), tmp_path / "other")
    assert numbers(tmp_path / "same") == numbers(finished)
    assert numbers(tmp_path / "other")[0] != numbers(finished)[0]


def test_before_learning_every_algorithm_is_judged_on_the_same_pictures(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    train(tiny_run(algorithm="frozen"), tmp_path)
    first, last = (row for row in numbers(tmp_path) if "queries" not in row)
    assert first == numbers(finished)[0]
    unmoved = {"epoch": 0, "eval/kl_reference": 0.0, "eval/kl_reference_nats": 0.0}
    assert last["eval/kl_reference"] < 1e-9  # a copy may round differently at another address
    assert last | unmoved == first
    assert (tmp_path / "samples/epoch-0003.png").read_bytes() == (finished / "samples/epoch-0000.png").read_bytes()


def test_evaluations_within_a_run_come_as_often_as_asked(tiny_run: MakeConfig, tmp_path: Path) -> None:
    train(tiny_run("evaluation.every=2"), tmp_path)
    assert [row["epoch"] for row in rows_of(tmp_path) if "queries" not in row] == [0, 2, 3]


def test_the_logger_is_closed_when_a_run_fails(
    tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Logger:
        def log(self, row: dict[str, Any]) -> None:
            raise RuntimeError("disk full")

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(record, "make_logger", lambda *arguments: Logger())
    with pytest.raises(RuntimeError, match="disk full"):
        train(tiny_run(), tmp_path)
    assert closed == [True]
