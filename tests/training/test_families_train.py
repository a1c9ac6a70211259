"""Every policy family trains from end to end, and with those of flow matching every kind of sampler and algorithm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from every_combination import run_of
from run_rows import rows_of

from ddpo_bench.config import RunConfig
from ddpo_bench.preflight import memory
from ddpo_bench.training.checkpoint import load_newest
from ddpo_bench.training.trainer import train

PAIRS = {
    "sdxl": [("ddim", "ppo"), ("ddim", "nft")],
    "stable_diffusion_3": [("flow_sde", "ppo"), ("dance_sde", "sac")],
    "flux": [("flow_sde", "ppo"), ("dpm2", "nft")],
    "qwen_image": [("flow_sde", "ppo"), ("cps", "draft")],
    "z_image": [("flow_sde", "ppo"), ("ode", "nft")],
}


@pytest.mark.parametrize(
    ("family", "sampler", "algorithm"),
    [(family, *pair) for family, pairs in PAIRS.items() for pair in pairs],
)
def test_every_family_trains(
    tiny_run: Callable[..., RunConfig],
    tiny_pipeline: Callable[[str], Path],
    tmp_path: Path,
    family: str,
    sampler: str,
    algorithm: str,
) -> None:
    sizes = {"samples_per_epoch": 4, "micro_batch": 2, "epochs": 1 + (algorithm == "sac"), "evaluation": {"samples": 2}}
    config = run_of(tiny_run, tiny_pipeline, family, sampler, algorithm, advantages="batch", **sizes)
    train(config, tmp_path / "run")
    row = next(row for row in rows_of(tmp_path / "run") if "queries" in row)
    assert row.get("ratio_deviation_max", 0) < 1e-6  # 0 in batches as they were sampled, as the contract tests
    need, trained = memory.needs(config), load_newest(tmp_path / "run", torch.device("cpu"))["policy"]
    policy = config.policy.build()
    policy.start(torch.device("cpu"), seed=0)
    before = policy.state_dict()
    assert any(not torch.equal(weight, before[name]) for name, weight in trained.items())
    assert need is not None
    assert need.trained == sum(weight.numel() for weight in trained.values())
