"""`ddpo-bench profile`: where a suite's time went, and how well it was used."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command, add_storage
from ddpo_bench.commands.results_folder import add_results_folder, results_folder

if TYPE_CHECKING:
    from ddpo_bench.analysis.overhead import WorkerTime
    from ddpo_bench.analysis.records import RunRecord
    from ddpo_bench.analysis.utilisation import Computed
    from ddpo_bench.sweep.worker_times import WorkerProcess

EXAMPLES = """\
examples:
  ddpo-bench profile smoke                             a suite that has run, or is running
  ddpo-bench profile results/smoke                     the same suite, by its results folder
  ddpo-bench profile suites/algos.yaml --results new   the runs in new/algos

Overhead is everything that is not sampling, reward, learning or KL. The floating-point operations of finished runs are
counted, which takes some seconds for each network; they give a speed and, where the run's processor or GPU is the one
here, the model FLOP utilisation (MFU): the speed as a share of a matrix product's, which is measured in the same call.
docs/metrics.md defines the columns.
"""


def add_options(parser: ArgumentParser) -> None:
    add_results_folder(parser)
    add_storage(parser)


def execute(args: Namespace) -> int:
    from ddpo_bench.analysis.collect import collect
    from ddpo_bench.analysis.overhead import profile
    from ddpo_bench.commands.printing import print_table_as
    from ddpo_bench.run_folder.plan import read_plan
    from ddpo_bench.sweep.worker_times import worker_processes

    results = results_folder(args.suite, args.results)
    plan = read_plan(results)
    suite = str(plan.get("name", results.resolve().name))
    if "tune" in plan:  # every trial's runs too, together by algorithm
        records = [replace(record, varied={}) for record in collect(results, planned=False)]
    else:
        records = collect(results)
    workers = worker_time(records, results, worker_processes(suite, results, args.storage))
    print_table_as(profile(records, suite, results, workers, computed_by(records)), None)
    return 0


def computed_by(records: Sequence[RunRecord]) -> dict[Path, Computed]:
    """What the finished runs have computed, by folder; a terminal shows that it is being counted."""
    from rich.console import Console

    from ddpo_bench.analysis.utilisation import Computed

    done = [record for record in records if record.status == "done"]
    if not done:
        return {}
    with Console(file=sys.stderr).status("counting the networks' operations, measuring a matrix product"):
        from ddpo_bench.preflight.utilisation import computed

        counted = {record.folder: computed(record.config, record.provenance) for record in done}
    return {folder: Computed(*known) for folder, known in counted.items() if known}


def worker_time(records: Sequence[RunRecord], results: Path, processes: Sequence[WorkerProcess]) -> WorkerTime | None:
    """The workers' time together; None where they did not make all of these runs, and these alone."""
    from ddpo_bench.analysis.overhead import WorkerTime

    worked_on = frozenset[str]().union(*(process.folders for process in processes))
    if worked_on != {str(record.folder.relative_to(results)) for record in records if record.seconds}:
        return None
    return WorkerTime(len(processes), sum(one.start for one in processes), sum(one.seconds for one in processes))


COMMAND = Command("show where a suite's time went, its memory and MFU", EXAMPLES, add_options, execute)
