"""`ddpo-bench run --executor slurm`: workers submitted to a cluster, and what to do next said."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddpo_bench.sweep.plan import PlannedRun
    from ddpo_bench.sweep.suite import Suite


def add_executor(parser: ArgumentParser) -> None:
    """Where the workers of `run` are."""
    parser.add_argument(
        "--executor",
        choices=("local", "slurm"),
        default="local",
        help="where the workers run: here (default), or as a job array of Slurm",
    )
    help = "a parameter of the array, by submitit's names: partition=gpu, time=240 (minutes); may be repeated"
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help=help)


def refuse_wrong_executor(args: Namespace) -> None:
    """Say what is wrong with the options of the executor before anything is planned."""
    from ddpo_bench.sweep.slurm import SlurmError, parameters, refuse_missing_slurm

    if args.executor == "slurm":
        parameters(args.slurm)
        if not args.dry_run:
            refuse_missing_slurm()
        if args.workers is None:
            raise SlurmError("--executor slurm: say how many workers at most the array shall have, as in --workers 8.")
    elif args.slurm:
        raise SlurmError(f"--slurm {args.slurm[0]}: is for --executor slurm.")


def submit(args: Namespace, suite: Suite, runs: Sequence[PlannedRun], root: Path) -> list[PlannedRun] | None:
    """Submit workers for what is still to do.

    Returns:
        None where an array was submitted; where nothing is to do, the runs that are failed.
    """
    from ddpo_bench.sweep.runner import begin, state
    from ddpo_bench.sweep.slurm import refuse_second_array

    if suite.tune:
        submit_tuning(args, suite, root)
        return None
    settled = {"done"} if args.retry_failed else {"done", "failed"}
    todo = [run for run in runs if state(run, root) not in settled]
    if not todo:
        print(f"Nothing is left to submit: {len(runs)} of {len(runs)} runs are over.")
        return [run for run in runs if state(run, root) == "failed"]
    refuse_second_array(root / "slurm")
    begin(suite, runs, root, args.storage, args.retry_failed)  # once for all workers, which do not retry
    submit_and_tell(args, suite, root, min(args.workers, len(todo)), f"for {len(todo)} runs")
    return None


def submit_tuning(args: Namespace, suite: Suite, root: Path) -> None:
    """Submit workers for the trials of a suite to be tuned, whose number is known when they are over."""
    from ddpo_bench.sweep.slurm import SlurmError

    if args.retry_failed:
        raise SlurmError("--retry-failed: is for the runs of a suite that is not to be tuned, with --executor slurm.")
    submit_and_tell(args, suite, root, args.workers, "for the trials and the runs of the winners")


def submit_and_tell(args: Namespace, suite: Suite, root: Path, count: int, what: str) -> None:
    """Submit an array, and print where it logs and what can be done with it."""
    from ddpo_bench.sweep.slurm import parameters, submit_workers

    job, logs = submit_workers(root / "slurm", suite.name, worker_arguments(args), count, parameters(args.slurm))
    storage = [f"--storage={args.storage}"] if args.storage else []
    print(
        f"Submitted job array {job}: {count} workers {what}.\n"
        f"Logs:    {logs}\n"
        f"Follow:  {shlex.join(['ddpo-bench', 'status', str(root), *storage])}, or squeue --jobs={job}\n"
        f"Stop:    scancel {job}\n"
        f"At the end: {shlex.join(['ddpo-bench', 'table', str(root)])}; if runs are left, give the same command again."
    )


def worker_arguments(args: Namespace) -> list[str]:
    """The command line of one worker, which means the same runs as ours does."""
    words = ["work", args.suite, f"--results={args.results}"]
    words += [f"--only={args.only}"] if args.only else []
    words += [f"--seeds={','.join(map(str, args.seeds))}"] if args.seeds else []
    words += [f"--storage={args.storage}"] if args.storage else []
    return words + [f"--set={change}" for change in args.set]
