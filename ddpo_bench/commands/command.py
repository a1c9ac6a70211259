"""What a verb of the command line is, and the options that several share."""

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


@dataclass(frozen=True)
class Command:
    """A verb.

    Attributes:
        what: one line of help, without a full stop.
        examples: end of its --help.
        execute: does it, and returns the exit code.
        resumable: whether the same command again goes on where it was interrupted.
    """

    what: str
    examples: str
    add_options: Callable[[ArgumentParser], None]
    execute: Callable[[Namespace], int]
    resumable: bool = False


def add_suite(parser: ArgumentParser) -> None:
    """What names the runs of a suite, their folder and their book."""
    parser.add_argument(
        "suite", metavar="SUITE", help="a YAML file, or the name of a suite that comes with the package"
    )
    add_results(parser, "write to DIR/<suite name> (default: results)")
    parser.add_argument("--only", metavar="GLOB", help="only the cells, or cell/seed-K, that match")
    parser.add_argument("--seeds", type=seeds, metavar="LIST", help="in place of the suite's own: 0-4 or 0,2,7")
    add_storage(parser)
    add_set(parser, "change the suite's base")


def add_results(parser: ArgumentParser, help: str) -> None:
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help=help)


def add_storage(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="of a database for the book of who runs what (default: study.journal in the results folder)",
    )


def add_workers(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes at a time (default: one a GPU, or one a CPU core)"
    )


def add_set(parser: ArgumentParser, what: str) -> None:
    help = f"{what}; dotted keys lead inside; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=help)


def add_metric(parser: argparse._ActionsContainer) -> None:
    help = "final, eval/<reward>, kl, seconds, images_per_second or a column of metrics.jsonl (default: final)"
    parser.add_argument("--metric", metavar="NAME", help=help)


def seeds(text: str) -> list[int]:
    """Type of an option: 0-4 or 0,2,7."""
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
    """Type of an option: one seed."""
    found = seeds(text)
    if len(found) > 1:
        raise argparse.ArgumentTypeError(f"expected one seed, got {text!r}")
    return found[0]


def amount(text: str) -> float:
    """Type of an option: a number from 0 up."""
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0 up, got {text!r}")
    return size


def positive(text: str) -> int:
    """Type of an option: a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)
