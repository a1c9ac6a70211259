"""`ddpo-bench profile`: where a suite's time went."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command, add_storage

if TYPE_CHECKING:
    from ddpo_bench.analysis.collect import RunRecord
    from ddpo_bench.analysis.harness import WorkerTime
    from ddpo_bench.sweep.attendance import Shift

EXAMPLES = """\
examples:
  ddpo-bench profile smoke                             after ddpo-bench run smoke
  ddpo-bench profile suites/algos.yaml --results new   of the runs in new/algos

Also while the suite runs.  Harness is everything that is not sampling, reward or learning; docs/metrics.md says
exactly what counts as what.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "suite", metavar="SUITE", help="a YAML file, or the name of a suite that comes with the package"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="where it was run (default: results)"
    )
    add_storage(parser)


def execute(args: Namespace) -> int:
    from ddpo_bench.analysis.collect import collect
    from ddpo_bench.analysis.harness import profile
    from ddpo_bench.commands.printing import print_table_as
    from ddpo_bench.sweep.attendance import shifts
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.yaml_file import load_yaml

    path = find_suite(args.suite)
    data = load_yaml(path)
    suite = str(data.get("name", path.stem))
    results = args.results / suite
    if "tune" in data:  # every trial's runs too, together by algorithm
        records = [replace(record, varied={}) for record in collect(results, planned=False)]
    else:
        records = collect(results)
    workers = worker_time(records, results, shifts(suite, results, args.storage))
    print_table_as(profile(records, suite, results, workers), None)
    return 0


def worker_time(records: Sequence[RunRecord], results: Path, shifts: Sequence[Shift]) -> WorkerTime | None:
    """The workers' time together; None where they did not make all of these runs, and these alone."""
    from ddpo_bench.analysis.harness import WorkerTime

    worked_on = frozenset[str]().union(*(shift.folders for shift in shifts))
    if worked_on != {str(record.folder.relative_to(results)) for record in records if record.seconds}:
        return None
    return WorkerTime(len(shifts), sum(shift.start for shift in shifts), sum(shift.seconds for shift in shifts))


COMMAND = Command("show where a suite's time went", EXAMPLES, add_options, execute)
