"""`ddpo-bench train`: train one configuration in this process."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ddpo_bench.commands.command import SOME_FAILED, Command, add_set

RESULTS = Path("results", "train")
EXAMPLES = """\
examples:
  ddpo-bench train ppo.yaml                            `algorithm: {name: ppo}` alone is a valid file
  ddpo-bench train ppo.yaml --out my-run --set seed=1
  ddpo-bench train ppo.yaml --out my-run --set seed=1 --set epochs=24      train the same run for more epochs
  ddpo-bench train ppo.yaml --set algorithm.learning_rate=1e-4 --set sampler.steps=20

What is written to standard error goes to output.log in the run's folder; with --debug, to the terminal.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file with the configuration")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder; a run in it resumes (default: below results/train)"
    )
    add_set(parser, "change a setting")


def execute(args: Namespace) -> int:
    from ddpo_kernels import BackendUnavailable, NoDensity

    from ddpo_bench.commands.planning import load_run
    from ddpo_bench.config import ConfigError
    from ddpo_bench.console import display
    from ddpo_bench.files import DiskTrouble, exclusive, naming_disk_trouble
    from ddpo_bench.policies.loading import ModelNotFound
    from ddpo_bench.preflight.checks import network_mistakes
    from ddpo_bench.preflight.startup import config_mistakes
    from ddpo_bench.quiet import errors_into
    from ddpo_bench.run_folder.places import run_folder
    from ddpo_bench.samplers.scheduler_classes import UnusableSchedule
    from ddpo_bench.sweep.longer import begin_from_shorter
    from ddpo_bench.sweep.plan import PlannedRun
    from ddpo_bench.training import trainer
    from ddpo_bench.training.loggers import LoggerUnavailable
    from ddpo_bench.training.run_identity import DifferentConfig

    config = load_run(args.config, args.set)
    if mistakes := config_mistakes(config) or network_mistakes([config]):
        raise ConfigError([f"{args.config}: {mistake}" for mistake in mistakes])
    below = run_folder(args.config.stem, config.identity(), config.seed)
    planned = PlannedRun(args.config.stem, config, args.out or below)
    if not args.out:
        begin_from_shorter(RESULTS, [planned])
    folder = args.out or RESULTS / below
    busy = f"{folder}: process {{pid}} is training here. Wait for it to end, or choose another --out DIR."
    with naming_disk_trouble(folder), exclusive(folder / ".lock", busy), display([planned], 0) as watcher:
        watcher.started(planned, "this process")
        try:
            with errors_into(folder / "output.log", args.debug):
                trainer.train(config, folder, lambda row: watcher.row(planned, row))
        except (
            DifferentConfig, ModelNotFound, NoDensity, UnusableSchedule, BackendUnavailable, LoggerUnavailable,
            DiskTrouble,
        ):  # fmt: skip
            raise  # the user's input, or their disk, not a failed run
        except Exception as error:
            if args.debug:
                raise
            watcher.ended(planned, "failed", f"{type(error).__name__}: {error}")
            return SOME_FAILED
        watcher.ended(planned, "done", None)
    print(f"Saved in {folder}")
    return 0


COMMAND = Command("train one configuration", EXAMPLES, add_options, execute, resumable=True)
