"""`ddpo-bench table`: the comparison of the runs in a results folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ddpo_bench.commands.command import Command, add_metric, amount
from ddpo_bench.commands.results_folder import add_results_folder, results_folder

EXAMPLES = """\
examples:
  ddpo-bench table results/algos                                 print it, and make plots and report again
  ddpo-bench table results/algos --format tex                    print it for a paper
  ddpo-bench table results/algos --metric eval/target_colour     compare by another reward
  ddpo-bench table results/algos --budget seconds                compare training rewards after equal time
  ddpo-bench table results/algos --budget kl --at 500            ... within 500 nats of the pretrained model

With any option it only prints, and writes nothing.
"""


def add_options(parser: ArgumentParser) -> None:
    add_results_folder(parser)
    parser.add_argument(
        "--format", choices=["md", "csv", "tex", "json"], help="output format (default: a table for reading)"
    )
    chosen = parser.add_mutually_exclusive_group()
    add_metric(chosen)
    chosen.add_argument(
        "--budget", choices=["queries", "seconds", "kl"], help="compare training rewards at an equal budget"
    )
    parser.add_argument(
        "--at",
        type=amount,
        metavar="X",
        help="the budget in images, seconds or nats (default: the largest that all runs reached)",
    )


def execute(args: Namespace) -> int:
    from ddpo_bench.commands.printing import print_summary, print_table_as
    from ddpo_bench.config import ConfigError

    if args.at is not None and args.budget is None:
        raise ConfigError(["--at: needs a budget. Add --budget queries, seconds or kl."])
    results = results_folder(args.suite, args.results)
    if not (args.format or args.metric or args.budget):
        print_summary(results, anew=True)
        return 0
    from ddpo_bench.analysis.tabulate import tabulate

    print_table_as(tabulate(results, args.metric or "final", args.budget, args.at), args.format)
    return 0


COMMAND = Command("compare the runs of a results folder", EXAMPLES, add_options, execute)
