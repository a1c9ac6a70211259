"""Folders to serve, made without training: runs of the tiny model whose checkpoints hold other weights than it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ddpo_bench.checksummed import write_checksummed_yaml
from ddpo_bench.config import run_config
from ddpo_bench.training.checkpoint import FOLDER
from ddpo_bench.training.export import export_weights
from ddpo_bench.training.trainer import start_policy

CPU = torch.device("cpu")
LORA = {"name": "lora", "rank": 2}


def make_run(results: Path, model: Path, cell: str, seed: int, adapter: dict[str, Any] | None = None) -> Path:
    """A run folder with a configuration and a checkpoint after one epoch."""
    policy = {"name": "stable_diffusion", "model": str(model), "precision": "fp32"}
    data = {"policy": policy | ({"adapter": adapter} if adapter else {}), "sampler": {"name": "ddim", "steps": 3}}
    config = run_config(data | {"seed": seed}, "test")
    run = results / "runs" / f"{cell}-0123456789ab" / f"seed-{seed}"
    (run / FOLDER).mkdir(parents=True)
    write_checksummed_yaml(run / "config.yaml", config.to_dict())
    started, _ = start_policy(config, CPU)
    moved = {
        name: weight + 0.1 * (seed + 1) * torch.randn_like(weight) for name, weight in started.state_dict().items()
    }
    torch.save({"epoch": 1, "metrics": {}, "policy": moved}, run / FOLDER / "epoch-0001.pt")
    return run


def make_results(folder: Path, model: Path) -> Path:
    """results/tiny with two fully trained and two LoRA runs, and my-lora, an export of the last of these."""
    results = folder / "results" / "tiny"
    for seed in range(2):
        make_run(results, model, "ppo", seed)
        run = make_run(results, model, "lora", seed, LORA)
    (folder / "my-lora").mkdir()
    config = run_config(
        {"policy": {"model": str(model), "precision": "fp32", "adapter": LORA}, "sampler": {"steps": 3}}, ""
    )
    export_weights(config, run, folder / "my-lora")
    (folder / "my-lora" / "run.yaml").write_text((run / "config.yaml").read_text())
    return folder
