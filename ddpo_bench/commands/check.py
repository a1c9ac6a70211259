"""`ddpo-bench check`: one short epoch of every setting, and what its metrics show to be wrong."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.commands.command import FINDING, SOME_FAILED, Command, add_set

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig
    from ddpo_bench.console import Display
    from ddpo_bench.sweep.plan import PlannedRun

SAMPLES = 16  # of the epoch, as far as its groups allow
GROUPS = 2  # at least: advantages over a whole epoch have others to compare with
UNIMPORTANT = ("seed", "reward", "prompts", "epochs", "evaluation", "logger")  # to how an algorithm's updates work
EXAMPLES = """\
examples:
  ddpo-bench check ppo.yaml                                before a long run
  ddpo-bench check suites/algos.yaml                       every algorithm of a suite, each once
  ddpo-bench check ppo.yaml --set algorithm.passes=4       with another setting

Trains one epoch of few samples in a temporary folder, and says in words what its metrics show to be wrong, such as a
ratio that is not 1 before the first update, or groups without spread (docs/diagnosis.md), and how long a whole epoch
would take. Learning is not judged. Exit code 3 where something was found, 2 where the epoch failed, 1 for wrong input.
"""


@dataclass(frozen=True)
class Checked:
    """A setting, and the short run that tries it.

    Attributes:
        samples: of an epoch as configured.
    """

    run: PlannedRun
    samples: int


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="CONFIG|SUITE", help="a YAML file, or the name of a suite of the package")
    add_set(parser, "change a setting")


def execute(args: Namespace) -> int:
    from ddpo_bench.console import display

    checked = settings(args)
    shown = display([one.run for one in checked])
    with tempfile.TemporaryDirectory(prefix="ddpo-bench-check-") as place, shown as watcher:
        verdicts = [verdict(one, Path(place), watcher, args.debug) for one in checked]
    print("\n".join(line for _, lines in verdicts for line in lines))
    print("Learning was not judged: that takes more than one epoch.")
    codes = {code for code, _ in verdicts}
    return SOME_FAILED if SOME_FAILED in codes else max(codes)


def settings(args: Namespace) -> list[Checked]:
    """What a file has of different settings, except for those that learn nothing.

    Raises:
        ConfigError: naming every mistake.
    """
    from ddpo_bench.commands.planning import load_run
    from ddpo_bench.config import ConfigError
    from ddpo_bench.preflight.checks import network_mistakes
    from ddpo_bench.preflight.startup import config_mistakes, suite_mistakes
    from ddpo_bench.registry import get
    from ddpo_bench.sweep.plan import PlannedRun
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.sweep.suite import is_suite, load_suite
    from ddpo_bench.yaml_file import load_yaml

    path = find_suite(args.file)
    if is_suite(load_yaml(path)):
        cells = load_suite(path, args.set).cells
        configs, mistakes = {cell.name: cell.config for cell in cells}, suite_mistakes(cells, args.set)
    else:
        config = load_run(path, args.set)
        configs, mistakes = {path.stem: config}, config_mistakes(config)
    if mistakes := mistakes or network_mistakes(configs.values()):
        raise ConfigError([line if line.startswith("--set") else f"{path}: {line}" for line in mistakes])
    different: dict[str, Checked] = {}
    for name, config in configs.items():
        if get("algorithm", config.algorithm.name).learns:
            run = PlannedRun(name, shortened(config), Path(name))
            different.setdefault(repr(importance(config)), Checked(run, config.samples_per_epoch))
    if not different:
        raise ConfigError([f"{path}: algorithm: nothing to check, because none learns."])
    return list(different.values())


def importance(config: RunConfig) -> dict[str, Any]:
    """What decides how updates work."""
    return {key: value for key, value in config.to_dict().items() if key not in UNIMPORTANT}


def shortened(config: RunConfig) -> RunConfig:
    """One epoch, after those of a warm-up, of few samples in whole groups, and evaluations as small as can be."""
    group = config.samples_per_prompt
    samples = min(config.samples_per_epoch, max(SAMPLES // group, GROUPS) * group)
    micro_batch = config.micro_batch if config.micro_batch == "auto" else min(config.micro_batch, samples)
    return replace(
        config,
        epochs=1 + config.algorithm.options.get("warmup_epochs", 0),
        samples_per_epoch=samples,
        micro_batch=micro_batch,
        evaluation=replace(config.evaluation, samples=1, every=0),
        logger="none",
    )


def verdict(one: Checked, place: Path, watcher: Display, debug: bool) -> tuple[int, list[str]]:
    """Train the short run, and say what is wrong with it; an exit code, and lines."""
    from ddpo_bench.analysis.diagnosis.findings import findings, metrics_of
    from ddpo_bench.analysis.records import read_run
    from ddpo_bench.commands.train import users_to_mend
    from ddpo_bench.quiet import errors_into
    from ddpo_bench.training.launch import train_on_processes

    folder = place / one.run.folder / "seed-0"
    folder.mkdir(parents=True)
    watcher.started(one.run, "this process")
    try:
        with errors_into(folder / "output.log", debug):
            train_on_processes(one.run.config, folder, lambda row: watcher.row(one.run, row))
    except Exception as error:
        if debug or isinstance(error, users_to_mend()):
            raise
        told = f"{type(error).__name__}: {error}"
        watcher.ended(one.run, "failed", told)
        return SOME_FAILED, [f"{one.run.cell}: failed: {told}"]
    watcher.ended(one.run, "done", None)
    record = read_run(folder)
    found = findings(metrics_of(record))
    first = f"{one.run.cell}: {len(found)} finding{'s' * (len(found) > 1)}" if found else f"{one.run.cell}: ok"
    lines = [f"  {finding.sentence}. See {finding.link}." for finding in found]
    return (FINDING if found else 0), [f"{first}; {time_of_an_epoch(one, record.epochs[-1])}", *lines]


def time_of_an_epoch(one: Checked, row: dict[str, Any]) -> str:
    """Of the samples as configured, from the short epoch's; measuring the KL takes as long, whatever the samples."""
    from ddpo_bench.registry import get
    from ddpo_bench.sweep.estimate import duration

    config = one.run.config
    more = one.samples / config.samples_per_epoch
    learning = more if get("algorithm", config.algorithm.name).learns_from_all else 1
    seconds = more * (row["seconds_sampling"] + row["seconds_reward"]) + learning * row["seconds_learning"]
    return f"an epoch of {one.samples} samples would take {duration(seconds + row.get('seconds_kl', 0))}"


COMMAND = Command("try one short epoch, and say what is wrong with it", EXAMPLES, add_options, execute)
