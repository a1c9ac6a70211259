"""One page of what the parts found, against the targets; written anew after every part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.part import OUTCOME, PARTS, Part
from benchmarks.gpu.targets import judge

MACHINE, PAGE = "machine.json", "README.md"
ON_CPU = (
    "**This ran on a CPU at small sizes, which tests the script itself. It says nothing about any GPU, and the targets "
    "for speed are not measured.**"
)


def write(out: Path) -> Path:
    """Write the page and return its path."""
    machine = json.loads((out / MACHINE).read_text(encoding="utf-8"))
    read = {part: outcome_of(out / part.name) for part in PARTS}
    outcomes = {part: found for part, found in read.items() if found and found.get("device") == machine["device"]}
    header = "\n".join(f"* {name}: {value}" for name, value in machine.items())
    note = [ON_CPU] if machine["device"].startswith("CPU") else []
    sections = ["# Proved on this machine", header, *note, targets_table(out, outcomes), parts_table(out, outcomes)]
    page = out / PAGE
    page.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return page


def outcome_of(folder: Path) -> dict[str, Any] | None:
    path = folder / OUTCOME
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def targets_table(out: Path, outcomes: dict[Part, dict[str, Any]]) -> str:
    lines = ["## Targets", "", "| target | | measured |", "| :-- | :-- | :-- |"]
    verdicts = judge(out, {part.name for part in outcomes})
    return "\n".join(lines + [f"| {found.target} | {found.word} | {found.found} |" for found in verdicts])


def parts_table(out: Path, outcomes: dict[Part, dict[str, Any]]) -> str:
    lines = ["## Parts", "", "| part | | seconds | limit | commit | files |", "| :-- | :-- | --: | --: | :-- | :-- |"]
    for part in PARTS:
        found = outcomes.get(part, {})
        cells = [f"{part.letter}: {part.title}", found.get("ended", "not run"), found.get("seconds", "")]
        cells += [part.seconds, found.get("commit", ""), files_of(out, part) if found else ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def files_of(out: Path, part: Part) -> str:
    """Links to what a part left for readers."""
    found = sorted(path for kind in ("*.md", "*.html") for path in (out / part.name).rglob(kind))
    return ", ".join(f"[{path.name}]({path.relative_to(out).as_posix()})" for path in found)
