"""`ddpo-bench validate`: mistakes, memory, disk and time, before any GPU time is spent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.commands.command import Command, add_results

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig
    from ddpo_bench.preflight.cost import Plan

EXAMPLES = """\
examples:
  ddpo-bench validate suites/algos.yaml
  ddpo-bench validate mine.yaml --measure               measure how long it will take
  ddpo-bench validate mine.yaml --results /scratch/me   check that there is room for the results

Checks names, values, paths, models, rewards, packages and room on the disk, and prints a line for every mistake.
Nothing is downloaded, and without --measure no model is loaded.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a YAML file, or the name of a suite that comes with the package")
    add_results(parser, "check for room in DIR/<suite name> (default: results)")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time one micro-batch of each cell that has not run yet, if its model is on this machine",
    )


def execute(args: Namespace) -> int:
    from ddpo_bench.config import ConfigError
    from ddpo_bench.preflight import checks
    from ddpo_bench.preflight.cost import estimates
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.yaml_file import load_yaml

    path = find_suite(args.file)
    data = load_yaml(path)
    try:
        first_line, plan, places, mistakes = read(path, data, args.results)
    except ConfigError as error:
        raise ConfigError([*error.mistakes, *(f"{path}: {line}" for line in checks.settings_mistakes(data))]) from None
    mistakes += checks.network_mistakes(cell.config for cell in plan.cells) if not mistakes else []
    mistakes = [f"{path}: {mistake}" for mistake in [*mistakes, *checks.reward_mistakes(places)]]
    mistakes += checks.results_mistakes(plan.root)
    mistakes += [] if mistakes else checks.space_mistakes(plan.root, plan.disk()[0])
    if mistakes:
        raise ConfigError(mistakes)
    print(f"{path}: ok, {first_line}")
    for line in estimates(plan, args.measure):
        print(f"  {line}", flush=True)
    return 0


def read(
    path: Path, data: Mapping[str, Any], results: Path
) -> tuple[str, Plan, Sequence[tuple[str, RunConfig]], list[str]]:
    """Read a suite or a run's configuration.

    Returns:
        A summary in one line, the plan, each configuration with the place of its reward in the file, and the mistakes
        that would end runs at their start.
    Raises:
        ConfigError: naming every mistake in the file.
    """
    from ddpo_bench.commands.planning import count_images, load_run
    from ddpo_bench.preflight.checks import reward_places
    from ddpo_bench.preflight.cost import Plan, PlannedCell
    from ddpo_bench.preflight.startup import config_mistakes, suite_mistakes
    from ddpo_bench.sweep.plan import runs_of
    from ddpo_bench.sweep.plan_file import refuse_other_suite
    from ddpo_bench.sweep.suite import is_suite, load_suite

    if not is_suite(data):
        config = load_run(path, [])
        images = config.epochs * config.samples_per_epoch
        what = f"one run of {config.algorithm} on {config.reward.label}, {images:,} images"
        plan_of_one = Plan([PlannedCell(path.stem, config, 1)], results / "train")
        return what, plan_of_one, [("reward", config)], config_mistakes(config)
    suite = load_suite(path)
    refuse_other_suite(suite, results / suite.name)
    runs = runs_of(suite)
    cells = f"{len(suite.cells)} cells x {len(suite.seeds)} seeds"
    what = f"a suite of {len(runs)} runs ({cells}), {count_images(runs)} images"
    trials = suite.tune.trials * len(suite.tune.seeds) if suite.tune else 0  # runs, of each cell that is tuned
    planned = [
        PlannedCell(cell.name, cell.config, len(suite.seeds) + (trials if cell.space else 0)) for cell in suite.cells
    ]
    if suite.tune:
        tuned = sum(bool(cell.space) for cell in suite.cells)
        what += f", after {tuned} x {suite.tune.trials} trials of up to {tuned * trials} runs in all"
    return what, Plan(planned, results / suite.name), reward_places(suite), suite_mistakes(suite.cells)


COMMAND = Command("check a suite or a run's configuration, and estimate its cost", EXAMPLES, add_options, execute)
