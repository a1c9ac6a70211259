"""A run small enough to train in a second: the tiny model, two steps, four images an epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddpo_bench.config import RunConfig, run_config
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
