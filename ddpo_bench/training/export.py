"""What a run trained, written as diffusers loads it; a LoRA is written without loading its model."""

from __future__ import annotations

from pathlib import Path

import torch

from ddpo_bench.config import RunConfig
from ddpo_bench.training.generate import NoCheckpoint, state_of


class NoExport(Exception):
    """What a run trained cannot be written for others."""


def export_weights(config: RunConfig, run: Path, folder: Path) -> int:
    """Write the trained weights of a run's newest checkpoint, or their average where the run keeps one (`ema`).

    Args:
        folder: an empty one.
    Returns:
        The epoch after which they were saved.
    Raises:
        NoCheckpoint: where the run has none, or none after an epoch.
        NoExport: where the policy cannot be written for others.
    """
    state = state_of(run, torch.device("cpu"))
    if "policy" not in state:
        raise NoCheckpoint(f"{run}: has trained no epoch yet, so that there is nothing to export.")
    trained = state["policy"]
    if "ema" in state:
        trained = dict(zip(trained, state["ema"]["averages"], strict=True))
    try:
        config.policy.build().save_trained(trained, folder)
    except NotImplementedError as error:
        raise NoExport(f"{run}: {error}") from error
    return int(state["epoch"])
