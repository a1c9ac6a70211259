"""`ddpo-bench compare`: the differences between two results folders."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ddpo_bench.commands.command import REGRESSION, Command, add_metric, amount
from ddpo_bench.commands.results_folder import results_folder

EXAMPLES = """\
examples:
  ddpo-bench compare results/algos new/algos                     A is the old folder, B the new one
  ddpo-bench compare results/algos new/algos --min-effect 0.05   ignore smaller changes
  ddpo-bench compare results/algos new/algos --metric seconds --format json

The exit code is 3 if any algorithm is worse on any reward, and 0 if none is, for use in CI.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("old", metavar="A", help="the old results: a results folder, or a suite's name or file")
    parser.add_argument("new", metavar="B", help="the new results, named in the same way")
    add_metric(parser)
    parser.add_argument("--min-effect", type=amount, metavar="X", help="smallest difference that counts (default: any)")
    parser.add_argument("--format", choices=["md", "json"], help="output format (default: a table for reading)")


def execute(args: Namespace) -> int:
    from ddpo_bench.analysis.compare import compare
    from ddpo_bench.commands.printing import print_table_as

    old, new = (results_folder(named, Path("results")) for named in (args.old, args.new))
    found = compare(old, new, args.metric or "final", args.min_effect)
    print_table_as(found.table, args.format)
    return REGRESSION if found.regressed else 0


COMMAND = Command("compare two results folders, old and new, run by run", EXAMPLES, add_options, execute)
