"""The identity of a run folder: config.yaml holds its configuration, provenance.json the hashes of its input files."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import write_checksummed_json, write_checksummed_yaml
from ddpo_bench.config import RunConfig, trained
from ddpo_bench.fingerprints import Inputs, changed
from ddpo_bench.run_folder.status import read_config, read_provenance

CONFIG = "config.yaml"


class DifferentConfig(Exception):
    """A run folder holds a run of another configuration, or a file that the run reads has changed."""


def refuse_other_run(folder: Path, config: RunConfig) -> None:
    """Refuse a folder with results of another configuration, or of other input files; epochs may be added.

    Raises:
        DifferentConfig: naming the keys or files that differ.
        Damaged: where config.yaml or provenance.json has changed since it was written.
    """
    files = unchanged_inputs(config)
    if not (folder / CONFIG).exists():
        return
    held, read = read_config(folder), inputs_of(folder)
    undecisive = [*read, *config.execution_options()]  # files are compared by their content, not by their paths
    different = differing_keys(without(held, undecisive), without(config.to_dict(), undecisive))
    if not has_rows(folder):
        return
    if names := changed(read, files) if read else "":
        raise DifferentConfig(
            f"{folder}: holds a run on other input files; changed since: {names}. "
            "Choose another --out, delete the folder, or restore the files."
        )
    if not different:
        return
    if different != ["epochs"] or config.epochs < held.get("epochs", math.inf):
        raise DifferentConfig(
            f"{folder}: holds a run with another {', '.join(different)}. Choose another --out, or delete the folder."
        )
    from ddpo_bench.training.checkpoint import can_resume  # which imports torch

    if not can_resume(folder):
        raise DifferentConfig(
            f"{folder}: cannot be continued to {config.epochs} epochs, because an older version kept only its policy. "
            "Choose another --out, or delete the folder."
        )


def write_identity(folder: Path, config: RunConfig, provenance: dict[str, Any] | None = None) -> None:
    """Write config.yaml and provenance.json.

    Args:
        folder: the run's folder.
        config: its configuration.
        provenance: the content of provenance.json; None before the run has started, for the origins alone.
    """
    write_checksummed_json(folder / "provenance.json", provenance or origins(config))
    write_checksummed_yaml(folder / CONFIG, config.to_dict())


def origins(config: RunConfig) -> dict[str, Any]:
    """What identifies a run besides its configuration: the label of its reward, and the hashes of its input files."""
    return {"reward": config.reward.label, "inputs": config.inputs()}


def unchanged_inputs(config: RunConfig) -> Inputs:
    """Hashes of the files that a run reads.

    Raises:
        DifferentConfig: where a file has changed since the run was planned.
    """
    try:
        now = config.inputs_now()
    except (OSError, ValueError) as error:  # raised by plugins for a missing or damaged file
        raise DifferentConfig(f"A file that the run reads has changed: {error}") from error
    if names := changed(config.inputs(), now):
        raise DifferentConfig(f"{names}: changed since this command began. Run the command again.")
    return now


def inputs_of(folder: Path) -> Inputs:
    """Hashes of the files that the run in a folder began with; empty where they are not recorded."""
    return read_provenance(folder).get("inputs", {})


def without(plain: dict[str, Any], places: Iterable[str]) -> dict[str, Any]:
    """A configuration without the options at these places, such as "reward.parts[0].reward.model"."""
    kept = copy.deepcopy(plain)
    for place in places:
        *outer, last = re.findall(r"[^.\[\]]+", place)
        block: Any = kept
        with suppress(LookupError, TypeError, ValueError):  # where the other configuration has this option
            for key in outer:
                block = block[int(key)] if isinstance(block, list) else block[key]
            block.pop(last, None)
    return kept


def differing_keys(held: Mapping[str, Any], plain: Mapping[str, Any]) -> list[str]:
    """The keys that decide the numbers of a run and differ between two configurations."""
    one, other = ({"seed": config.get("seed"), **trained(config)} for config in (held, plain))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def has_rows(folder: Path) -> bool:
    """Whether a run has results, which one that failed at its start has not."""
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0
