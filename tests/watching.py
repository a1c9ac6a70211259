"""For tests of what watches a sweep: a clock, and planned runs that need no model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ddpo_bench.config import Choice, RunConfig
from ddpo_bench.sweep.plan import PlannedRun


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run_of(cell: str, seed: int, epochs: int = 4) -> PlannedRun:
    nothing = Choice("policy", "none", {})  # a real one would import torch
    plugins = dict.fromkeys(("policy", "sampler", "prompts", "reward", "advantages"), nothing)
    plugins["algorithm"] = Choice("algorithm", "ppo", {"adam_epsilon": 1e-8})
    return PlannedRun(cell, replace(RunConfig(**plugins), epochs=epochs, seed=seed), Path("runs", cell, f"seed-{seed}"))
