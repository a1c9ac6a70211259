"""Reads a suite's results folder: one RunRecord a run, whatever became of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.records import RunRecord, read_run
from ddpo_bench.analysis.varied import tell_apart
from ddpo_bench.run_folder.places import ResultsError, nothing_in, run_folder, run_folders
from ddpo_bench.run_folder.plan import planned_runs, read_plan


def collect(results: Path, planned: bool = True) -> list[RunRecord]:
    """All runs of results/<suite>, in the order of its plan.

    With a suite.yaml the plan decides: planned runs that have no folder yet are records too (queued), and folders of
    an earlier plan, or of the trials of a tuning, are left out.  Without one, all folders are read, by name.

    Args:
        planned: False reads all folders in any case.

    Raises:
        ResultsError: where there are no runs.
        Damaged, ConfigError: where a file is damaged.
    """
    plan = read_plan(results)
    folders = planned_folders(results, plan) if planned else []
    folders = folders or run_folders(results)
    if not any(folder.is_dir() for folder in folders):
        raise ResultsError(nothing_in(results))
    setups = {home_of(cell): cell.get("label", "") for cell in plan.get("cells", [])}
    return tell_apart(crossed([read_run(folder, setups.get(folder.parent.name, "")) for folder in folders]))


def crossed(records: list[RunRecord]) -> list[RunRecord]:
    """The records with setups of several algorithms named after the algorithm, and the setup where the reward does not
    tell it: "ppo", or "ppo small"."""
    algorithms: dict[str, set[str]] = defaultdict(set)
    setups: dict[str, set[str]] = defaultdict(set)
    started = [record for record in records if record.algorithm]
    for record in started:
        algorithms[record.setup].add(record.algorithm)
        setups[record.reward].add(record.setup)
    told = all(len(found) == 1 for found in setups.values())
    return [
        replace(record, setup=record.algorithm if told else f"{record.algorithm} {record.setup}")
        if record.setup and record.algorithm and len(algorithms[record.setup]) > 1
        else record
        for record in records
    ]


def planned_folders(results: Path, plan: dict[str, Any]) -> list[Path]:
    """The run folders of a plan, the seeds of a cell together."""
    order = [home_of(cell) for cell in plan.get("cells", [])]
    return sorted((results / folder for folder in planned_runs(plan)), key=lambda run: order.index(run.parent.name))


def home_of(cell: dict[str, Any]) -> str:
    """The name of the folder that holds the seeds of a planned cell."""
    return run_folder(cell["name"], cell["hash"], 0).parent.name
