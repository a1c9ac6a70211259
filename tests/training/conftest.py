"""A run small enough to train in a second: the tiny model, two steps, four images an epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.training.trainer import train
from ddpo_bench.yaml_file import apply_overrides

# No scenes, so that nothing needs the verifier; the last four are held out.
PROMPTS = ["a quiet harbour", "stairs at night", "the old library", "rain", "thunder", "windows", "smoke"]


@pytest.fixture(scope="session")
def tiny_run(tiny_model: Path) -> Callable[..., RunConfig]:
    """Makes the configuration of a tiny run, with overrides as `--set` takes them."""
    prompts = tiny_model.parent / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    base: dict[str, Any] = {
        "policy": {"name": "stable_diffusion", "model": str(tiny_model), "precision": "fp32"},
        "sampler": {"name": "ddim", "steps": 2},
        "prompts": {"name": "from_file", "path": str(prompts)},
        "algorithm": {"name": "ppo", "minibatches": 2, "learning_rate": 1e-3},
        "advantages": {"name": "per_prompt", "min_count": 2},
        "samples_per_epoch": 4,
        "micro_batch": 2,
        "epochs": 3,
        "evaluation": {"samples": 3},
        "checkpoint_seconds": 0,
    }

    def make(*overrides: str, **changes: Any) -> RunConfig:
        return run_config(apply_overrides(base | changes, list(overrides)), "test")

    return make


@pytest.fixture(scope="session")
def finished(tiny_run: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken tiny run."""
    folder = tmp_path_factory.mktemp("unbroken")
    train(tiny_run(), folder)
    return folder


@pytest.fixture(scope="session")
def small_run(tiny_run: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """As `tiny_run`, of a made-up network that needs a fifth of the time."""
    return lambda *overrides, **changes: tiny_run(*overrides, **{"policy": "pooled_diffusion"} | changes)


@pytest.fixture(scope="session")
def small_finished(small_run: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken small run."""
    folder = tmp_path_factory.mktemp("unbroken")
    train(small_run(), folder)
    return folder
