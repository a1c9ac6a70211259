"""`ddpo-bench throughput`: images and transitions a second, memory, and FLOP utilisation on this machine."""

from __future__ import annotations

import argparse
import re
import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command, add_set, amount, positive

if TYPE_CHECKING:
    import torch

    from ddpo_bench.config import RunConfig

EXAMPLES = """\
examples:
  ddpo-bench throughput algos                          each algorithm of a suite, at its micro-batch
  ddpo-bench throughput algos --micro-batch 1,4,16,64
  ddpo-bench throughput sd15-compressibility --architecture sd15 --micro-batch 1,2,4,8
                                                       Stable Diffusion 1.5 with random weights: no download
  ddpo-bench throughput mine.yaml --compile none,regional --precision fp32,bf16

Next to each, the plain loop is measured on the same network. Writes results/throughput/<device>/<name>.md, .csv and
.png; docs/performance.md explains the columns.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="CONFIG|SUITE", help="a YAML file, or the name of a suite that comes with the package"
    )
    parser.add_argument(
        "--architecture",
        metavar="NAME",
        help="a public architecture with random weights in place of the model: sd15, sd21, sdxl, sd35m or flux-dev",
    )
    parser.add_argument(
        "--micro-batch",
        type=positives,
        default=[],
        metavar="LIST",
        help="as 1,2,4,8 (default: the configuration's; where that is auto: 1,4,16,64)",
    )
    parser.add_argument(
        "--precision",
        type=precisions,
        default=[],
        metavar="LIST",
        help="fp32, bf16 or fp32,bf16 (default: the configuration's)",
    )
    parser.add_argument(
        "--compile",
        type=compiles,
        default=[],
        metavar="LIST",
        help="none, regional or none,regional (default: the configuration's)",
    )
    parser.add_argument("--checkpointing", action="store_true", help="checkpoint gradients")
    parser.add_argument(
        "--seconds",
        type=amount,
        default=10.0,
        metavar="S",
        help="about how long each row may take (default: 10); a row takes at least five short rounds",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results", "throughput"),
        metavar="DIR",
        help="write to DIR/<device> (default: results/throughput)",
    )
    add_set(parser, "change a setting")


def positives(text: str) -> list[int]:
    """Parse whole numbers of at least 1, separated by commas."""
    return [positive(part) for part in text.split(",")]


def compiles(text: str) -> list[str]:
    return named(text, ("none", "regional"))


def precisions(text: str) -> list[str]:
    return named(text, ("fp32", "bf16"))


def named(text: str, known: tuple[str, ...]) -> list[str]:
    """Parse names separated by commas."""
    given = list(dict.fromkeys(text.split(",")))
    if not {*given} <= {*known}:
        raise argparse.ArgumentTypeError(f"expected {' or '.join(known)}, or both with a comma, got {text!r}")
    return given


def execute(args: Namespace) -> int:
    import torch

    from ddpo_bench import processes
    from ddpo_bench.analysis.terminal import TerminalTable
    from ddpo_bench.console import say, wide_console
    from ddpo_bench.files import refuse_unwritable
    from ddpo_bench.microbench.machine import describe
    from ddpo_bench.throughput.report import save, screen_tables
    from ddpo_bench.throughput.run import Measurements, run
    from ddpo_bench.throughput.settings import settings
    from ddpo_bench.training.provenance import git_commit, installed_version, processor_name

    device = processes.device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    processor = processor_name()
    planned = settings(
        configs(args), args.architecture, args.micro_batch, args.precision, args.compile, args.checkpointing
    )
    folder, name = args.out / folder_name(device, processor), file_name(args)
    refuse_unwritable(folder / f"{name}.md")
    header = describe(device, processor, git_commit(), command_of(args))
    header |= {package: installed_version(package) or "not installed" for package in ("diffusers", "peft")}
    made = Measurements(device, args.seconds)
    try:
        run(planned, made, say)
    finally:
        if made.rows:
            save(made, header, folder, name)
            say(f"Saved {folder / name}.md, .csv and .png")
    for table in screen_tables(made):
        wide_console().print(TerminalTable(table), "")
    print("\n".join(f"{key}: {value}" for key, value in header.items()))
    return 0


def configs(args: Namespace) -> dict[str, RunConfig]:
    """Configurations by label; those of a suite that differ in their reward alone, or that share a label, once.

    Raises:
        ConfigError: for mistakes in the file, or a model that is not on this machine.
    """
    from ddpo_bench.architectures.published import architecture
    from ddpo_bench.commands.planning import load_run
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.sweep.suite import is_suite, load_suite
    from ddpo_bench.yaml_file import load_yaml

    path = find_suite(args.file)
    if is_suite(load_yaml(path)):
        found: dict[str, RunConfig] = {}
        for cell in load_suite(path, args.set).cells:
            found.setdefault(cell.label, cell.config)
    else:
        config = load_run(path, args.set)
        found = {config.algorithm.name: config}
    if args.architecture:
        architecture(args.architecture)
    else:
        refuse_absent(found)
    return found


def refuse_absent(configs: dict[str, RunConfig]) -> None:
    """Refuse models that would have to be downloaded."""
    from ddpo_bench.architectures.published import NAMES, of_hub_model
    from ddpo_bench.config import ConfigError

    for config in configs.values():
        policy = config.policy.build()
        if not policy.mistakes() and policy.stored_scheduler_config() is None:
            model = config.policy.options.get("model", config.policy.name)
            known = of_hub_model(model)
            names = known.name if known else f"NAME, one of {', '.join(NAMES)},"
            raise ConfigError(
                [f"policy.model: {model} is not on this machine. Add --architecture {names} to measure random weights."]
            )


def folder_name(device: torch.device, processor: str) -> str:
    """The device's name for a folder."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def file_name(args: Namespace) -> str:
    return "-".join(filter(None, [Path(args.file).stem, args.architecture]))


def command_of(args: Namespace) -> str:
    """The command line of these arguments."""
    words = ["ddpo-bench", "throughput", args.file]
    words += ["--architecture", args.architecture] if args.architecture else []
    for option in ("micro_batch", "precision", "compile"):
        if given := getattr(args, option):
            words += [f"--{option.replace('_', '-')}", ",".join(map(str, given))]
    words += ["--checkpointing"] if args.checkpointing else []
    words += ["--seconds", f"{args.seconds:g}"]
    return shlex.join([*words, *(word for change in args.set for word in ("--set", change))])


COMMAND = Command("measure images a second, memory and FLOP utilisation", EXAMPLES, add_options, execute)
