"""The runs that a command line selects."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ddpo_bench.config import ConfigError, RunConfig, run_config
from ddpo_bench.run_folder.places import run_folder
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.plan import PlannedRun, runs_of, select
from ddpo_bench.sweep.plan_file import refuse_other_suite
from ddpo_bench.sweep.shipped import find_suite
from ddpo_bench.sweep.suite import Suite, is_suite, load_suite, spelled_out
from ddpo_bench.yaml_file import apply_overrides, load_yaml


def planned_runs(args: Namespace) -> tuple[Suite, list[PlannedRun], Path]:
    """The suite, the selected runs and the results folder, from the options of `add_suite`."""
    suite = load_suite(find_suite(args.suite), args.set, args.seeds or ())
    root = args.results / suite.name
    refuse_other_suite(suite, root)
    runs = runs_of(suite)
    if args.only:
        runs = select(runs, args.only)
        suite = narrowed(suite, runs) if suite.tune else suite
    return suite, runs, root


def narrowed(suite: Suite, runs: Sequence[PlannedRun]) -> Suite:
    """The suite with only the cells and seeds of these runs, because cells are tuned, not runs."""
    folders, seeds = {run.folder.parent.name for run in runs}, {run.config.seed for run in runs}
    cells = [cell for cell in suite.cells if f"{cell.name}-{cell.hash}" in folders]
    return replace(suite, cells=cells, seeds=[seed for seed in suite.seeds if seed in seeds])


def refuse_impossible(args: Namespace, suite: Suite, runs: Sequence[PlannedRun], root: Path, here: bool = True) -> None:
    """Refuse, before any run, a suite with runs that would fail at their start; cells that are done are not checked.

    Args:
        here: whether the runs will be trained on this machine.
    Raises:
        ConfigError: naming every mistake of every cell by its place in the file.
    """
    from ddpo_bench.preflight.startup import suite_mistakes

    todo = {run.folder.parent for run in runs if read_status(root / run.folder)["state"] != "done"}
    cells = [cell for cell in suite.cells if run_folder(cell.name, cell.hash, 0).parent in todo]
    if mistakes := suite_mistakes(cells, args.set, here):
        path = find_suite(args.suite)
        raise ConfigError([line if line.startswith("--set") else f"{path}: {line}" for line in mistakes])


def count_images(runs: Sequence[PlannedRun]) -> str:
    """The number of images, and so of reward queries, of these runs, as text."""
    return f"{sum(planned.images for planned in runs):,}"


def load_run(path: Path, overrides: Sequence[str]) -> RunConfig:
    """Read the configuration of a run.

    Args:
        path: a YAML file.
        overrides: the values of --set.
    Raises:
        ConfigError: where the file has mistakes, or is a suite.
    """
    data = load_yaml(path)
    if data and is_suite(data):
        raise ConfigError([f"{path}: is a suite, not the configuration of one run. Use: ddpo-bench run {path}"])
    data = spelled_out(data)
    return run_config(apply_overrides(data, list(overrides)) if overrides else data, str(path))
