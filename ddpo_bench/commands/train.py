"""`ddpo-bench train`: train one configuration, on as many processes as it asks for or a launcher has started."""

from __future__ import annotations

import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.commands.command import SOME_FAILED, Command, add_set

if TYPE_CHECKING:
    from ddpo_bench.sweep.plan import PlannedRun

RESULTS = Path("results", "train")
EXAMPLES = """\
examples:
  ddpo-bench train ppo.yaml                            `algorithm: {name: ppo}` alone is a valid file
  ddpo-bench train ppo.yaml --out my-run --set seed=1
  ddpo-bench train ppo.yaml --out my-run --set seed=1 --set epochs=24      train the same run for more epochs
  ddpo-bench train ppo.yaml --set algorithm.learning_rate=1e-4 --set sampler.steps=20

on several processes, with the same numbers within rounding (docs/processes.md):
  ddpo-bench train ppo.yaml --set resources.processes=2         a GPU each, where there are GPUs
  torchrun --nproc-per-node 2 -m ddpo_bench train ppo.yaml      processes that a launcher starts, on CPUs too
  accelerate launch -m ddpo_bench train ppo.yaml                GPUs, of several machines too, by `accelerate config`

What is written to standard error goes to output.log in the run's folder; with --debug, to the terminal.
"""
Train = Callable[[Any, Path, Callable[[dict[str, Any]], None]], None]


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file with the configuration")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder; a run in it resumes (default: below results/train)"
    )
    add_set(parser, "change a setting")


def execute(args: Namespace) -> int:
    from ddpo_bench.process_errors import ProcessLost
    from ddpo_bench.training import launcher
    from ddpo_bench.training.launch import train_on_processes

    planned, folder = plan(args)
    try:
        if not launcher.is_launched():
            return train_shown(args, planned, folder, train_on_processes)
        train = partial(launcher.train_launched, terminal=os.dup(2), quiet=not args.debug)
        return (
            train_shown(args, planned, folder, train) if launcher.is_first() else train_silently(planned, folder, train)
        )
    except ProcessLost as lost:
        print(f"{folder}: {lost}. Run the same command again to resume.", file=sys.stderr)
        return SOME_FAILED


def plan(args: Namespace) -> tuple[PlannedRun, Path]:
    """The run that is asked for, and its folder.

    Raises:
        ConfigError: naming every mistake.
    """
    from ddpo_bench.commands.planning import load_run
    from ddpo_bench.config import ConfigError
    from ddpo_bench.preflight.checks import network_mistakes
    from ddpo_bench.preflight.startup import config_mistakes
    from ddpo_bench.run_folder.places import run_folder
    from ddpo_bench.sweep.plan import PlannedRun

    config = load_run(args.config, args.set)
    if mistakes := config_mistakes(config) or network_mistakes([config]):
        raise ConfigError([f"{args.config}: {mistake}" for mistake in mistakes])
    below = run_folder(args.config.stem, config.identity(), config.seed)
    return PlannedRun(args.config.stem, config, args.out or below), args.out or RESULTS / below


def train_shown(args: Namespace, planned: PlannedRun, folder: Path, train: Train) -> int:
    """Train while the folder is held against other commands, and show the progress."""
    from ddpo_bench.console import display
    from ddpo_bench.files import exclusive, naming_disk_trouble
    from ddpo_bench.quiet import errors_into
    from ddpo_bench.sweep.longer import begin_from_shorter

    if not args.out:
        begin_from_shorter(RESULTS, [planned])
    busy = f"{folder}: process {{pid}} is training here. Wait for it to end, or choose another --out DIR."
    with naming_disk_trouble(folder), exclusive(folder / ".lock", busy), display([planned], 0) as watcher:
        watcher.started(planned, "this process")
        try:
            with errors_into(folder / "output.log", args.debug):
                train(planned.config, folder, lambda row: watcher.row(planned, row))
        except Exception as error:
            if args.debug or isinstance(error, users_to_mend()):
                raise
            watcher.ended(planned, "failed", f"{type(error).__name__}: {error}")
            return SOME_FAILED
        watcher.ended(planned, "done", None)
    print(f"Saved in {folder}")
    return 0


def train_silently(planned: PlannedRun, folder: Path, train: Train) -> int:
    """Train as another process of a run that the first one shows."""
    try:
        train(planned.config, folder, lambda row: None)
    except Exception as error:
        if isinstance(error, users_to_mend()):
            raise
        traceback.print_exc()
        return SOME_FAILED
    return 0


def users_to_mend() -> tuple[type[Exception], ...]:
    """Exceptions that do not tell of a run that failed, but of the user's input or machine."""
    from ddpo_kernels import BackendUnavailable, NoDensity

    from ddpo_bench.config import ConfigError
    from ddpo_bench.files import DiskTrouble
    from ddpo_bench.policies.loading import ModelNotFound
    from ddpo_bench.process_errors import ProcessLost
    from ddpo_bench.samplers.scheduler_classes import UnusableSchedule
    from ddpo_bench.training.loggers import LoggerUnavailable
    from ddpo_bench.training.run_identity import DifferentConfig

    return (
        ConfigError, DifferentConfig, ModelNotFound, NoDensity, UnusableSchedule, BackendUnavailable,
        LoggerUnavailable, DiskTrouble, ProcessLost,
    )  # fmt: skip


COMMAND = Command("train one configuration", EXAMPLES, add_options, execute, resumable=True)
