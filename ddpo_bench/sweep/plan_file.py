"""Writes suite.yaml: the plan of a results folder, and the file that it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import Damaged, write_checksummed_yaml
from ddpo_bench.config import ConfigError
from ddpo_bench.run_folder.plan import PLAN, read_plan
from ddpo_bench.sweep.shipped import folder as shipped_folder
from ddpo_bench.sweep.suite import Suite

SHIPPED = "shipped: "


def write_plan(suite: Suite, root: Path, wall: float = 0.0) -> None:
    """Write what a suite plans.

    Args:
        root: results/<suite>.
        wall: seconds in which somebody worked on it.
    """
    plan = {"file": source(suite.file, root), **suite.to_dict(), "wall_seconds": round(wall, 3)}
    write_checksummed_yaml(root / PLAN, plan)


def refuse_other_suite(suite: Suite, root: Path) -> None:
    """Keep two suites of one name from replacing each other's tables.

    An edited suite is the same one, and so is one whose file was moved, or copied with a cell in common.

    Raises:
        ConfigError: where another file that is still there wrote the plan, and the two have no cell in common.
    """
    try:
        held = read_plan(root)
    except (Damaged, ConfigError):  # it is about to be written anew
        return
    writer = held.get("file", "")
    path = shipped_folder() / f"{writer.removeprefix(SHIPPED)}.yaml" if writer.startswith(SHIPPED) else root / writer
    if not writer or writer == source(suite.file, root) or not path.is_file() or has_common_cell(suite, held):
        return
    raise ConfigError(
        [
            f"{suite.file}: {root} holds the runs of another suite of this name, {os.path.relpath(path)}, which has no "
            f"cell in common with it. Give one of them another `name:`, or add --results DIR."
        ]
    )


def has_common_cell(suite: Suite, held: Mapping[str, Any]) -> bool:
    """Whether a plan holds a cell of the suite, or did under other versions of plugins or of files that runs read."""
    plan = suite.to_dict()
    same_base = plan["base"] == held.get("base")
    cells = held.get("cells", [])
    return any(
        one["hash"] == other["hash"] or (same_base and one["varied"] == other["varied"])
        for one in plan["cells"]
        for other in cells
    )


def source(file: Path, root: Path) -> str:
    """A suite's file as a plan names it: a shipped one by its name, others from the results folder."""
    if file.resolve().parent == shipped_folder().resolve():
        return SHIPPED + file.stem
    return Path(os.path.relpath(file.resolve(), root.resolve())).as_posix()
