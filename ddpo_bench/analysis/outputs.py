"""What a results folder's outputs were made of, so that they are made again only where something has changed.

outputs.json holds hashes: of what the outputs are made of (`inputs`), of the outputs themselves, and of the question
that they answer, where all of its runs are done: the suite's file, the options, the files that its runs read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.collect import planned_folders
from ddpo_bench.checksummed import Damaged, read_checksummed_json, write_checksummed_json
from ddpo_bench.config import ConfigError
from ddpo_bench.fingerprints import file_hash, hashes
from ddpo_bench.registry import FOLDERS
from ddpo_bench.run_folder.places import PLAN
from ddpo_bench.run_folder.plan import read_plan

FILE = "outputs.json"
OUTPUTS = ("table.md", "table.csv", "table.tex", "report.html", "plots/*.png")
OF_A_RUN = ("status.json", "config.yaml", "provenance.json", "metrics.jsonl", "samples/*")
PACKAGE = Path(__file__).parents[1]


def write_record(results: Path, inputs: str, asked: Mapping[str, Any] | None = None) -> None:
    """Say of what the outputs that are there now were made.

    Args:
        inputs: as of `inputs_hash`, before they were made.
        asked: the question that they answer, with the files that were "read" for it and their hashes; None where runs
            of it are not done, or nothing was asked, which leaves an answer of the same inputs as it is.
    """
    held = read_record(results)
    asked = asked or (held["asked"] if held.get("inputs") == inputs else None)
    write_checksummed_json(results / FILE, {"inputs": inputs, "outputs": outputs_of(results), "asked": asked})


def are_current(results: Path, inputs: str) -> bool:
    """Whether every output is there as it was made, of these inputs."""
    held = read_record(results)
    return held.get("inputs") == inputs and held["outputs"] == outputs_of(results)


def are_answer(results: Path, asked: Mapping[str, Any]) -> bool:
    """Whether the outputs are current, and answer this question."""
    held = read_record(results).get("asked") or {}
    if {key: held.get(key) for key in asked} != asked or not read_files_are(held["read"]) or has_own_plugins():
        return False
    try:
        return are_current(results, inputs_hash(results))
    except (Damaged, ConfigError):  # of the plan, which is about to be written anew
        return False


def read_record(results: Path) -> dict[str, Any]:
    """outputs.json; empty where there is none, or it is damaged."""
    try:
        return read_checksummed_json(results / FILE, "")
    except (OSError, Damaged):
        return {}


def read_files_are(read: Mapping[str, str]) -> bool:
    """Whether files are as they were, by their hashes."""
    try:
        return all(file_hash(Path(path)) == known for path, known in read.items())
    except OSError:
        return False


def has_own_plugins() -> bool:
    """Whether plugins outside the package are installed, whose versions are not known before they are imported."""
    return any(entry_points(group=f"ddpo_bench.{kind}") for kind in FOLDERS)


def outputs_of(results: Path) -> dict[str, str]:
    return hashes(results, (path for pattern in OUTPUTS for path in results.glob(pattern)))


def inputs_hash(results: Path) -> str:
    """Of the plan, the runs' files, the records of tuning, and the code."""
    found = [results / PLAN, *results.glob("tuning/*.json")]
    for folder in planned_folders(results, read_plan(results)) or results.glob("runs/*/seed-*"):
        found += [path for pattern in OF_A_RUN for path in folder.glob(pattern)]
    return digest(results, filter(Path.is_file, found)) + digest(
        PACKAGE, chain(PACKAGE.rglob("*.py"), PACKAGE.rglob("*.j2"))
    )


def digest(folder: Path, files: Iterable[Path]) -> str:
    return hashlib.sha256(repr(hashes(folder, files)).encode()).hexdigest()
