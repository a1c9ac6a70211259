"""The commands of the command line, and the options that several of them share."""

from __future__ import annotations

import argparse
import math
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ddpo_bench.options import MOST_SEEDS, SEEDS

SOME_FAILED = 2
REGRESSION = 3
FINDING = 3  # a check found something wrong


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        what: one line of help, without a full stop.
        examples: the end of its --help.
        add_options: adds its options to a parser.
        execute: runs it with the parsed options, and returns the exit code.
        resumable: whether the command, run again, resumes where it was interrupted.
    """

    what: str
    examples: str
    add_options: Callable[[ArgumentParser], None]
    execute: Callable[[Namespace], int]
    resumable: bool = False


def add_suite(parser: ArgumentParser) -> None:
    """Add the options that select the runs of a suite, its results folder and its run queue."""
    parser.add_argument(
        "suite", metavar="SUITE", help="a YAML file, or the name of a suite that comes with the package"
    )
    add_results(parser, "write results to DIR/<suite name> (default: results)")
    parser.add_argument(
        "--only", metavar="GLOB", help="select the cells whose names match, or single runs as cell/seed-K"
    )
    parser.add_argument("--seeds", type=seeds, metavar="LIST", help="replace the suite's seeds: 0-4 or 0,2,7")
    add_storage(parser)
    add_set(parser, "change a setting in the suite's base")


def add_results(parser: ArgumentParser, help: str) -> None:
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help=help)


def add_storage(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="a database for the run queue, an Optuna study (default: study.journal in the results folder)",
    )


def add_workers(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="number of runs at a time (default: as many as have GPUs, or CPU cores, of their own)",
    )
    parser.add_argument(
        "--runs-per-gpu",
        type=positive,
        default=1,
        metavar="N",
        help="number of runs that share a GPU, for runs on one GPU (default: 1)",
    )


def add_set(parser: ArgumentParser, what: str) -> None:
    help = f"{what}, with dots for nested keys; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=help)


def add_metric(parser: argparse._ActionsContainer) -> None:
    help = "final (the default), eval/<reward>, kl, seconds, images_per_second or a column of metrics.jsonl"
    parser.add_argument("--metric", metavar="NAME", help=help)


def add_votes(parser: ArgumentParser) -> None:
    help = "the file of blind votes (default: votes.sqlite next to the first suite)"
    parser.add_argument("--votes", type=Path, metavar="FILE", help=help)


def seeds(text: str) -> list[int]:
    """Parse seeds given as 0-4 or 0,2,7."""
    found: dict[int, None] = {}  # in order, without repetition
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if last < first:
            raise argparse.ArgumentTypeError(f"expected seeds like 0-4 or 0,2,7, got {text!r}")
        if wrong := SEEDS.mistake(last):
            raise argparse.ArgumentTypeError(f"a seed {wrong.rstrip('.')}")
        if last - first + len(found) >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"more than {MOST_SEEDS} seeds: {text!r}")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def seed(text: str) -> int:
    """Parse one seed."""
    found = seeds(text)
    if len(found) > 1:
        raise argparse.ArgumentTypeError(f"expected one seed, got {text!r}")
    return found[0]


def amount(text: str) -> float:
    """Parse a number of at least 0."""
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return size


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
