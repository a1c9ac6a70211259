"""suite.yaml: the plan of a results folder as it was last written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import read_checksummed_yaml
from ddpo_bench.config import RunConfig
from ddpo_bench.run_folder.places import PLAN, run_folder


def read_plan(results: Path) -> dict[str, Any]:
    """The plan that was last written; empty where there is none.

    Raises:
        Damaged, ConfigError: where it is not as it was written.
    """
    path = results / PLAN
    remedy = f"Run ddpo-bench run {results.resolve().name} again, which writes it again."
    return read_checksummed_yaml(path, remedy) if path.is_file() else {}


def planned_runs(plan: Mapping[str, Any]) -> dict[Path, int]:
    """Folder to epochs of every run of a plan, in the order in which they are run: every cell's first seed first."""
    usual = plan.get("base", {}).get("epochs", RunConfig.epochs)
    return {
        run_folder(cell["name"], cell["hash"], seed): cell.get("varied", {}).get("epochs", usual)
        for seed in plan.get("seeds", [])
        for cell in plan.get("cells", [])
    }
