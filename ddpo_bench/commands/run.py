"""`ddpo-bench run`: train the runs of a suite that are not done, then compare."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.commands.command import SOME_FAILED, Command, add_suite, add_workers
from ddpo_bench.commands.submitting import add_executor
from ddpo_bench.commands.tune import print_tuning_plan, tune_and_compare

if TYPE_CHECKING:
    from ddpo_bench.sweep.plan import PlannedRun
    from ddpo_bench.sweep.room import Room
    from ddpo_bench.sweep.suite import Suite

EXAMPLES = """\
examples:
  ddpo-bench run smoke                                 run a suite that comes with the package
  ddpo-bench run suites/algos.yaml --dry-run           print which runs there are, and which are done
  ddpo-bench run algos --only 'ppo-*' --workers 2      run some cells in two processes
  ddpo-bench run algos --only '*/seed-0'               run seed 0 of every cell
  ddpo-bench run algos --set epochs=2 --results quick  change a setting, and write elsewhere
  ddpo-bench run algos --seeds 0-9                     run other seeds than those in the file
  ddpo-bench run algos --runs-per-gpu 4                run four runs at a time on each GPU
  ddpo-bench run algos --set resources.processes=2     train each run on two processes, with a GPU each if there are any
  ddpo-bench run algos --executor ray --ray-address auto
  ddpo-bench run algos --executor slurm --workers 16 --slurm partition=gpu --slurm gpus_per_node=1 --slurm time=240

Run again, the same command resumes what was interrupted and skips what is done.  Run at the same time in another
terminal, or on another host that sees the same results folder, it shares the work.
"""


def add_options(parser: ArgumentParser) -> None:
    add_suite(parser)
    add_workers(parser)
    add_executor(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--retry-failed", action="store_true", help="run failed runs again")


def execute(args: Namespace) -> int:
    from ddpo_bench.commands.submitting import refuse_wrong_executor

    refuse_wrong_executor(args)
    if args.executor != "slurm" and not args.dry_run and print_answer(args):
        return 0
    return run_and_compare(args)


def print_answer(args: Namespace) -> bool:
    """Print the outputs if this command made them and nothing has changed; planning runs would import torch."""
    from ddpo_bench.analysis.outputs import are_answer
    from ddpo_bench.analysis.tabulate import tabulate
    from ddpo_bench.commands.printing import print_outputs
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.yaml_file import load_yaml

    path = find_suite(args.suite)
    root = args.results / str(load_yaml(path).get("name", path.stem))
    if not are_answer(root, question(args)):
        return False
    print_outputs(tabulate(root), root)
    return True


def question(args: Namespace) -> dict[str, Any]:
    """What decides which runs a command selects, except for the files that they read."""
    from ddpo_bench.fingerprints import file_hash
    from ddpo_bench.sweep.shipped import find_suite

    path = find_suite(args.suite)
    return {"suite": file_hash(path), "set": args.set, "seeds": args.seeds, "only": args.only}


def run_and_compare(args: Namespace) -> int:
    from ddpo_bench.commands.planning import planned_runs, refuse_impossible
    from ddpo_bench.commands.printing import print_failures, print_summary
    from ddpo_bench.commands.submitting import local_room, submit, workers
    from ddpo_bench.console import display
    from ddpo_bench.files import naming_disk_trouble
    from ddpo_bench.fingerprints import asked_for
    from ddpo_bench.sweep.runner import run_suite

    asked = question(args)
    suite, runs, root = planned_runs(args)
    asked["read"] = dict(asked_for)
    refuse_impossible(args, suite, runs, root, here=args.executor == "local")
    room = local_room(args, suite) if args.executor == "local" else None
    if args.dry_run:
        return print_tuning_plan(suite, root, room) if suite.tune else print_plan(suite, runs, root, room)
    if suite.tune and args.executor != "slurm":
        return tune_and_compare(args, suite, root)
    if args.executor == "slurm":
        with naming_disk_trouble(root):
            submitted = submit(args, suite, runs, root)
        if submitted is None:
            return 0
        failed = submitted
    else:
        with naming_disk_trouble(root), workers(args, suite) as (pool, count):
            failed = run_suite(suite, runs, root, count, display, args.retry_failed, args.storage, pool=pool)
    print_failures(failed, root)
    print_summary(root, None if failed else asked)
    return SOME_FAILED if failed else 0


def print_plan(suite: Suite, runs: Sequence[PlannedRun], root: Path, room: Room | None) -> int:
    """room: of this machine, where it trains."""
    from ddpo_bench.commands.planning import count_images
    from ddpo_bench.console import print_table
    from ddpo_bench.sweep.runner import state

    cells: dict[Path, list[PlannedRun]] = {}
    for planned in runs:
        cells.setdefault(planned.folder.parent, []).append(planned)
    rows = []
    for folder, members in cells.items():
        states = [state(member, root) for member in members]
        counted = [f"{states.count(name)} {name}" for name in dict.fromkeys(states)]
        seeds = ", ".join(str(member.config.seed) for member in members)
        rows.append([members[0].cell, folder.name[-12:], seeds, count_images(members), ", ".join(counted)])
    print_table(f"{suite.name}: {len(runs)} runs", ["cell", "hash", "seeds", "images", "state"], rows)
    todo = [planned for planned in runs if state(planned, root) != "done"]
    print(f"{count_images(runs)} images (reward queries) in all, {count_images(todo)} of them to do, in {root}")
    if room:
        print(room)
    return 0


COMMAND = Command("train a suite's runs and compare them", EXAMPLES, add_options, execute, resumable=True)
