"""`--executor`: where the workers of `run` and `tune` are, here, on a Ray cluster or in a job array of Slurm."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddpo_bench.sweep.plan import PlannedRun
    from ddpo_bench.sweep.ray_workers import RayPool
    from ddpo_bench.sweep.room import Room
    from ddpo_bench.sweep.suite import Suite
    from ddpo_bench.sweep.workers import Pool


def add_executor(parser: ArgumentParser) -> None:
    """Add the options that choose where the workers of `run` are."""
    add_ray(
        parser, ("local", "ray", "slurm"), "where the workers run: here (default), as Ray tasks, or in a Slurm array"
    )
    help = "an option of sbatch: partition=gpu, time=240 (minutes); may be repeated"
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help=help)


def add_ray(parser: ArgumentParser, executors: Sequence[str], help: str) -> None:
    """Add --executor, with the options of Ray."""
    parser.add_argument("--executor", choices=executors, default="local", help=help)
    help = "a Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: $RAY_ADDRESS, or one of this machine alone)"
    parser.add_argument("--ray-address", metavar="ADDRESS", help=help)


def refuse_wrong_executor(args: Namespace) -> None:
    """Refuse wrong options of the executor before anything is planned."""
    from ddpo_bench.sweep.slurm import SlurmError, refuse_missing_slurm

    refuse_wrong_ray(args)
    if args.executor != "slurm":
        if args.slurm:
            raise SlurmError(f"--slurm {args.slurm[0]}: needs --executor slurm.")
        return
    if not args.dry_run:
        refuse_missing_slurm()
    if args.workers is None:
        raise SlurmError("--executor slurm: give the largest number of workers in the array, as in --workers 8.")


def refuse_wrong_ray(args: Namespace) -> None:
    """Refuse the address of a cluster that is not used, Ray where it is not installed, and GPUs shared elsewhere."""
    from ddpo_bench.sweep.ray_cluster import RayUnavailable, refuse_missing_ray
    from ddpo_bench.sweep.room import NoRoom

    if args.runs_per_gpu > 1 and args.executor != "local":
        raise NoRoom(f"--runs-per-gpu {args.runs_per_gpu}: works only for runs on this machine, not on a cluster.")
    if args.executor == "ray":
        refuse_missing_ray()
    elif args.ray_address:
        raise RayUnavailable(f"--ray-address {args.ray_address}: needs --executor ray.")


@contextmanager
def workers(args: Namespace, suite: Suite) -> Iterator[tuple[Callable[..., Pool | RayPool], int]]:
    """What makes the workers of `run` and `tune`, and how many at a time."""
    from ddpo_bench.sweep.mps import sharing_gpus
    from ddpo_bench.sweep.ray_cluster import connected
    from ddpo_bench.sweep.ray_workers import workers_of
    from ddpo_bench.sweep.workers import Pool

    if args.executor == "local":
        room = local_room(args, suite)
        count = room.workers(args.workers)
        with sharing_gpus() if args.runs_per_gpu > 1 else nullcontext() as sharing:
            if sharing:
                print(sharing.how, flush=True)
                room = room.under_mps(sharing.variables) if sharing.variables else room
            yield partial(Pool, room=room), count
        return
    with connected(args.ray_address) as cluster:
        yield workers_of(cluster), args.workers or cluster.room({cell.config.resources for cell in suite.cells})


def local_room(args: Namespace, suite: Suite) -> Room:
    """What this machine offers the workers of a suite; refuses more than it has room for."""
    from ddpo_bench.sweep.room import room_for

    room = room_for((cell.config.resources for cell in suite.cells), args.runs_per_gpu)
    room.workers(args.workers)
    return room


def submit(args: Namespace, suite: Suite, runs: Sequence[PlannedRun], root: Path) -> list[PlannedRun] | None:
    """Submit workers for the runs that are left, or for the trials of a suite to be tuned.

    Returns:
        None if an array was submitted; if nothing is left to do, the failed runs.
    """
    from ddpo_bench.sweep.runner import begin, state
    from ddpo_bench.sweep.slurm import SlurmError, refuse_second_array

    if suite.tune:
        if args.retry_failed:
            raise SlurmError("--retry-failed: with --executor slurm, works only for suites without a tune: block.")
        submit_and_tell(args, suite, root, args.workers, "for the trials and the runs of the best configurations")
        return None
    settled = {"done"} if args.retry_failed else {"done", "failed"}
    todo = [run for run in runs if state(run, root) not in settled]
    if not todo:
        print(f"Nothing is left to submit: {len(runs)} of {len(runs)} runs have ended.")
        return [run for run in runs if state(run, root) == "failed"]
    refuse_second_array(root / "slurm")
    begin(suite, runs, root, args.storage, args.retry_failed)  # once for all workers, which do not retry
    submit_and_tell(args, suite, root, min(args.workers, len(todo)), f"for {len(todo)} runs")
    return None


def submit_and_tell(args: Namespace, suite: Suite, root: Path, count: int, what: str) -> None:
    """Submit an array, and print where its logs are and how to follow and stop it."""
    from ddpo_bench.sweep.slurm import options_for, submit_workers

    options = [*options_for((cell.config.resources for cell in suite.cells), args.slurm), *args.slurm]
    job, logs = submit_workers(root / "slurm", suite.name, worker_arguments(args), count, options)
    storage = [f"--storage={args.storage}"] if args.storage else []
    print(
        f"Submitted job array {job}: {count} workers {what}.\n"
        f"Logs:    {logs}\n"
        f"Follow:  {shlex.join(['ddpo-bench', 'status', str(root), *storage])}, or squeue --jobs={job}\n"
        f"Stop:    scancel {job}\n"
        f"At the end: {shlex.join(['ddpo-bench', 'table', str(root)])}; if runs are left, run the same command again."
    )


def worker_arguments(args: Namespace) -> list[str]:
    """The command line of a worker, which selects the same runs as this one."""
    words = ["work", args.suite, f"--results={args.results}"]
    words += [f"--only={args.only}"] if args.only else []
    words += [f"--seeds={','.join(map(str, args.seeds))}"] if args.seeds else []
    words += [f"--storage={args.storage}"] if args.storage else []
    return words + [f"--set={change}" for change in args.set]
