"""Whose a run folder is: its config.yaml says which configuration trains there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.config import EXECUTION_KEYS, RunConfig
from ddpo_bench.sealed import check_sealed_yaml, write_sealed_json, write_sealed_yaml
from ddpo_bench.yaml_file import load_yaml

CONFIG = "config.yaml"


class DifferentConfig(Exception):
    """The run folder holds a run of another configuration."""


def refuse_other_run(folder: Path, config: RunConfig) -> None:
    """Refuse a folder in which another configuration has measured something; epochs may be added.

    Raises:
        DifferentConfig: naming the keys that differ.
        Damaged: where config.yaml is not as it was written.
    """
    path = folder / CONFIG
    if not path.exists():
        return
    check_sealed_yaml(path, f"Delete {folder} to train the run again.")
    held = load_yaml(path)
    different = differing_keys(held, config.to_dict())
    if not different or not has_rows(folder):
        return
    if different != ["epochs"] or config.epochs < held.get("epochs", math.inf):
        raise DifferentConfig(
            f"{folder}: holds a run with another {', '.join(different)}; choose another --out or delete it."
        )
    from ddpo_bench.training.checkpoint import can_go_on  # which imports torch

    if not can_go_on(folder):
        raise DifferentConfig(
            f"{folder}: cannot go on to {config.epochs} epochs: an older version kept its policy alone when it was "
            "done. Choose another --out or delete it."
        )


def claim_folder(folder: Path, config: RunConfig, provenance: dict[str, Any] | None = None) -> None:
    """Write down which configuration trains in this folder.

    Args:
        provenance: what provenance.json holds of a run that has started; before, only what the run is known by.
    """
    write_sealed_json(folder / "provenance.json", provenance or origins(config))
    write_sealed_yaml(folder / CONFIG, config.to_dict())


def origins(config: RunConfig) -> dict[str, Any]:
    """What a run is known by besides its configuration: the name that its reward has in metrics and tables."""
    return {"reward": config.reward.label}


def differing_keys(held: Mapping[str, Any], plain: Mapping[str, Any]) -> list[str]:
    """Keys of two configurations that decide the numbers of a run and have different values."""
    decisive = (held.keys() | plain.keys()) - set(EXECUTION_KEYS) | {"seed"}
    return sorted(key for key in decisive if held.get(key) != plain.get(key))


def has_rows(folder: Path) -> bool:
    """Whether anything was measured here; a run that failed as it started holds nothing that is worth keeping."""
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0
