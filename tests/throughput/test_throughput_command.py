"""`ddpo-bench throughput` from the command line to its files, on small networks."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
import torch

from ddpo_bench.architectures import published
from ddpo_bench.cli import main
from ddpo_bench.config import run_config
from ddpo_bench.throughput import random_weights
from ddpo_bench.throughput.settings import settings

FILE = """
policy: {{name: stable_diffusion, model: {model}, precision: fp32, guidance_scale: 3.0, adapter: {{name: lora}}}}
sampler: {{steps: 3}}
samples_per_epoch: 4
micro_batch: 2
"""


@pytest.fixture(autouse=True)
def threads() -> object:
    """The command computes with one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    (path,) = folder.glob(f"*/{name}.csv")
    assert path.with_suffix(".png").stat().st_size > 10_000
    assert "MFU" in path.with_suffix(".md").read_text()
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_configuration_is_measured_next_to_the_plain_loop(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(FILE.format(model=tiny_model))
    command = ["throughput", str(tmp_path / "mine.yaml"), "--micro-batch", "1,2", "--seconds", "0.1"]
    assert main([*command, "--out", str(tmp_path / "out"), "--debug"]) == 0
    rows = rows_of(tmp_path / "out", "mine")
    assert [(row["loop"], row["micro_batch"]) for row in rows] == [
        (loop, size) for size in ("1", "2") for loop in ("ddpo-bench", "plain loop")
    ]
    for row in rows:
        measured = ("sampling_images_per_second", "learning_transitions_per_second", "learning_mfu", "memory_bytes")
        assert all(float(row[key]) > 0 for key in measured)
        phases = sum(float(value) for key, value in row.items() if key.startswith("seconds_"))
        assert float(row["images_per_second"]) == pytest.approx(1 / phases, rel=1e-3)
    assert float(rows[0]["speed_up"]) > 0
    shown = capsys.readouterr().out
    assert "plain loop" in shown
    assert "Time of an image by phase" in shown


def test_the_plain_loop_stands_next_to_ddim_alone() -> None:
    configs = {name: run_config({"sampler": name, "micro_batch": 1}, "test") for name in ("ddim", "flow_sde")}
    loops = [(it.loop, it.config.sampler.name) for it in settings(configs, None, [], [], [], False)]
    assert sorted(loops) == [("ddpo-bench", "ddim"), ("ddpo-bench", "flow_sde"), ("plain loop", "ddim")]


def test_an_architecture_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = published.architecture("sd15")
    small = {"block_out_channels": [32, 64], "layers_per_block": 1, "norm_num_groups": 8}
    small |= {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
    small |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
    vae = {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "sample_size": 64}
    parts = {"unet": made.parts["unet"] | small, "vae": made.parts["vae"] | vae}
    monkeypatch.setattr(random_weights, "architecture", lambda name: dataclasses.replace(made, parts=parts))
    (tmp_path / "mine.yaml").write_text(FILE.format(model="stable-diffusion-v1-5/stable-diffusion-v1-5"))
    command = ["throughput", str(tmp_path / "mine.yaml"), "--seconds", "0.1", "--checkpointing", "--debug"]
    assert main([*command, "--architecture", "sd15", "--out", str(tmp_path / "out")]) == 0
    rows = rows_of(tmp_path / "out", "mine-sd15")
    assert [(row["loop"], row["checkpointing"]) for row in rows] == [("ddpo-bench", "on"), ("plain loop", "off")]
    assert rows[0]["forward_flops"] == rows[1]["forward_flops"]
    assert float(rows[0]["backward_flops"]) < 2 * float(rows[0]["forward_flops"])  # nothing computed again


def test_a_model_that_is_not_here_is_not_downloaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(FILE.format(model="CompVis/stable-diffusion-v1-4"))
    assert main(["throughput", str(tmp_path / "mine.yaml")]) == 1
    assert "Add --architecture sd15 to measure random weights" in capsys.readouterr().err
    assert main(["throughput", str(tmp_path / "mine.yaml"), "--architecture", "sd1.5"]) == 1
    assert "Did you mean 'sd15'" in capsys.readouterr().err
