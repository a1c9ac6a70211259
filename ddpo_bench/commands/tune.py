"""`ddpo-bench tune`: equal numbers of trials for every cell of a suite, then the best on fresh seeds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import SOME_FAILED, Command, add_suite, add_workers
from ddpo_bench.commands.submitting import add_ray

if TYPE_CHECKING:
    from ddpo_bench.sweep.room import Room
    from ddpo_bench.sweep.suite import Suite

EXAMPLES = """\
examples:
  ddpo-bench tune suites/tune-ppo.yaml                  tune one algorithm; writes best.yaml at the end
  ddpo-bench tune algos-tuned --dry-run                 print how many trials and runs there are
  ddpo-bench tune algos-tuned --only 'ppo-*'            tune some cells
  ddpo-bench tune algos-tuned --executor ray            tune with Ray tasks as workers (docs/clusters.md)

The suite has a `tune:` block with a space, trials and seeds (docs/tuning.md).  Run again, the same command resumes what
was interrupted; run elsewhere at the same time, it shares the work.  Studies can be opened in optuna-dashboard.
"""


def add_options(parser: ArgumentParser) -> None:
    add_suite(parser)
    add_workers(parser)
    add_ray(parser, ("local", "ray"), "where the workers run: here (default), or as Ray tasks")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--retry-failed", action="store_true", help="run failed runs of the best configurations again")


def execute(args: Namespace) -> int:
    from ddpo_bench.commands.planning import planned_runs, refuse_impossible
    from ddpo_bench.commands.submitting import local_room, refuse_wrong_ray
    from ddpo_bench.config import ConfigError

    refuse_wrong_ray(args)
    suite, runs, root = planned_runs(args)
    if suite.tune is None:
        raise ConfigError([f"{args.suite}: has no tune: block. Use: ddpo-bench run {args.suite}"])
    refuse_impossible(args, suite, runs, root, here=args.executor == "local")
    room = local_room(args, suite) if args.executor == "local" else None
    return print_tuning_plan(suite, root, room) if args.dry_run else tune_and_compare(args, suite, root)


def tune_and_compare(args: Namespace, suite: Suite, root: Path) -> int:
    """Tune, run the best configurations, and make their table and report; `run` does so too with a tune: block."""
    from ddpo_bench.commands.printing import print_failures, print_summary
    from ddpo_bench.commands.submitting import workers
    from ddpo_bench.console import display
    from ddpo_bench.files import naming_disk_trouble
    from ddpo_bench.tuning.runner import tune_suite

    with naming_disk_trouble(root), workers(args, suite) as (pool, count):
        outcome = tune_suite(suite, root, count, display, args.retry_failed, args.storage, pool=pool)
    print_failures(outcome.failed, root)
    print("\n".join(outcome.without_winner), end="\n" * bool(outcome.without_winner))
    if outcome.runs:
        print_summary(root)
    print("\n".join(f"Best: {file}" for file in outcome.best))
    return SOME_FAILED if outcome.failed or outcome.without_winner else 0


def print_tuning_plan(suite: Suite, root: Path, room: Room | None) -> int:
    """Print the most that tuning would do; room: of this machine, where it trains."""
    from ddpo_bench.console import print_table

    tune = suite.tune
    assert tune is not None
    tuned = [cell for cell in suite.cells if cell.space]
    rows = [[cell.name, ", ".join(cell.space), str(tune.trials), str(tune.trials * len(tune.seeds))] for cell in tuned]
    print_table(f"{suite.name}: {len(tuned)} studies", ["cell", "searched", "trials", "runs"], rows)
    images = sum(cell.config.epochs * cell.config.samples_per_epoch for cell in tuned) * tune.trials * len(tune.seeds)
    final = (len(tuned) * tune.top + len(suite.cells) - len(tuned)) * len(suite.seeds)
    print(
        f"At most {images:,} images (reward queries) in all trials; then {final} runs on seeds {suite.seeds}, in {root}"
    )
    if room:
        print(room)
    return 0


COMMAND = Command(
    "search for settings, and run the best on fresh seeds", EXAMPLES, add_options, execute, resumable=True
)
