"""`ddpo-bench ls`: the results folders below a folder."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.commands.command import Command

EXAMPLES = """\
examples:
  ddpo-bench ls
  ddpo-bench ls /shared/results
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("results"), metavar="DIR", help="where to look (default: results)"
    )


def execute(args: Namespace) -> int:
    from ddpo_bench.config import ConfigError
    from ddpo_bench.console import print_table
    from ddpo_bench.run_folder.places import results_below

    if not args.folder.is_dir():
        raise ConfigError([f"{args.folder}: no such folder. Give the folder given to --results of `ddpo-bench run`."])
    found = list(results_below(args.folder))
    if not found:
        print(f"{args.folder}: no results here. `ddpo-bench run SUITE --results {args.folder}` writes some.")
        return 0
    columns = ["results", "done", "failed", "planned", "algorithms", "rewards", "changed", "size"]
    print_table(f"{len(found)} in {args.folder}", columns, [row_of(root, args.folder) for root in found])
    return 0


def row_of(root: Path, folder: Path) -> list[str]:
    from ddpo_bench.run_folder.places import run_folders
    from ddpo_bench.run_folder.plan import planned_runs, read_plan
    from ddpo_bench.sweep.estimate import size
    from ddpo_bench.sweep.status import status_or_damage

    plan = read_plan(root)
    here = run_folders(root)
    planned = planned_runs(plan)
    states = [status_or_damage(run)["state"] for run in here if not plan or run.relative_to(root) in planned]
    changed, occupied = newest_and_size(root)
    return [
        str(root.relative_to(folder)) if root != folder else root.name or str(root),
        str(states.count("done")),
        str(states.count("failed")),
        str(len(planned)) if plan else "?",
        *(", ".join(names(kind, plan, here)) for kind in ("algorithm", "reward")),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(changed)),
        size(occupied),
    ]


def names(kind: str, plan: Mapping[str, Any], here: list[Path]) -> list[str]:
    """What a suite compares: of its plan, or where there is none of its runs."""
    from ddpo_bench.registry import DEFAULTS
    from ddpo_bench.run_folder.status import read_config

    if plan:
        usual = plan.get("base", {}).get(kind)
        chosen = [cell.get("varied", {}).get(kind, usual) for cell in plan.get("cells", [])]
    else:
        cells = {run.parent: run for run in here}  # the seeds of a cell share a configuration
        chosen = [read_config(run).get(kind) for run in cells.values()]
    return sorted(
        {
            str(choice.get("name", DEFAULTS[kind]) if isinstance(choice, Mapping) else choice)
            for choice in chosen
            if choice
        }
    )


def newest_and_size(root: Path) -> tuple[float, int]:
    """When a file of a folder last changed, in Unix time, and bytes of all of them; files may vanish meanwhile."""
    newest, occupied = root.stat().st_mtime, 0
    for folder, _, files in os.walk(root):
        for name in files:
            try:
                facts = os.stat(os.path.join(folder, name), follow_symlinks=False)
            except FileNotFoundError:
                continue
            newest, occupied = max(newest, facts.st_mtime), occupied + facts.st_size
    return newest, occupied


COMMAND = Command("list results folders, with their progress and size", EXAMPLES, add_options, execute)
