"""Whose a run folder is: its config.yaml says which configuration trains there, its provenance.json on which files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import write_checksummed_json, write_checksummed_yaml
from ddpo_bench.config import EXECUTION_KEYS, RunConfig
from ddpo_bench.fingerprints import Inputs, changed
from ddpo_bench.run_folder.status import read_config, read_provenance

CONFIG = "config.yaml"


class DifferentConfig(Exception):
    """The run folder holds a run of another configuration, or a file that the run reads has changed."""


def refuse_other_run(folder: Path, config: RunConfig) -> None:
    """Refuse a folder in which another configuration, or one on other files, has measured something.

    Epochs may be added.

    Raises:
        DifferentConfig: naming the keys or files that differ.
        Damaged: where config.yaml or provenance.json is not as it was written.
    """
    files = unchanged_inputs(config)
    if not (folder / CONFIG).exists():
        return
    held, read = read_config(folder), inputs_of(folder)
    different = differing_keys(without_paths(held, read), without_paths(config.to_dict(), read))
    if not has_rows(folder):
        return
    if names := changed(read, files) if read else "":
        raise DifferentConfig(
            f"{folder}: holds a run that read other files; changed since: {names}. "
            "Choose another --out, delete the folder, or put the files back."
        )
    if not different:
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
    write_checksummed_json(folder / "provenance.json", provenance or origins(config))
    write_checksummed_yaml(folder / CONFIG, config.to_dict())


def origins(config: RunConfig) -> dict[str, Any]:
    """What a run is known by besides its configuration: its reward's name in metrics and tables, the files it reads."""
    return {"reward": config.reward.label, "inputs": config.inputs()}


def unchanged_inputs(config: RunConfig) -> Inputs:
    """The files that a run reads, which are those that it was planned with.

    Raises:
        DifferentConfig: where they are not.
    """
    try:
        now = config.inputs_now()
    except (OSError, ValueError) as error:  # what plugins say of a file that is gone or damaged
        raise DifferentConfig(f"A file that the run reads has changed: {error}") from error
    if names := changed(config.inputs(), now):
        raise DifferentConfig(f"{names}: changed since this command began. Give the command again.")
    return now


def inputs_of(folder: Path) -> Inputs:
    """The files that the run in a folder began with; empty where it does not say."""
    return read_provenance(folder).get("inputs", {})


def without_paths(plain: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    """A configuration without the options that only say where its inputs lie."""
    return {
        key: {option: item for option, item in value.items() if f"{key}.{option}" not in inputs}
        if isinstance(value, dict)
        else value
        for key, value in plain.items()
    }


def differing_keys(held: Mapping[str, Any], plain: Mapping[str, Any]) -> list[str]:
    """Keys of two configurations that decide the numbers of a run and have different values."""
    decisive = (held.keys() | plain.keys()) - set(EXECUTION_KEYS) | {"seed"}
    return sorted(key for key in decisive if held.get(key) != plain.get(key))


def has_rows(folder: Path) -> bool:
    """Whether anything was measured here; a run that failed as it started holds nothing that is worth keeping."""
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0
