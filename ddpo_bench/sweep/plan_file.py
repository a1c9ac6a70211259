"""Writes suite.yaml: the plan of a results folder, and the file that it came from."""

from __future__ import annotations

import os
from pathlib import Path

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

    An edited suite is the same one, and so is one whose file was moved or copied with a cell in common.

    Raises:
        ConfigError: where another file wrote the plan, and the two have no cell in common.
    """
    try:
        held = read_plan(root)
    except (Damaged, ConfigError):  # it is about to be written anew
        return
    file, cells = held.get("file"), {cell["hash"] for cell in held.get("cells", [])}
    if file in (None, source(suite.file, root)) or not cells.isdisjoint(cell.hash for cell in suite.cells):
        return
    writer = file if file.startswith(SHIPPED) else os.path.relpath(root / file)
    raise ConfigError(
        [
            f"{suite.file}: {root} holds the runs of another suite of this name, {writer}, which has no cell in common "
            f"with it. Give one of them another `name:`, or add --results DIR."
        ]
    )


def source(file: Path, root: Path) -> str:
    """A suite's file as a plan names it: a shipped one by its name, others from the results folder."""
    if file.resolve().parent == shipped_folder().resolve():
        return SHIPPED + file.stem
    return Path(os.path.relpath(file.resolve(), root.resolve())).as_posix()
