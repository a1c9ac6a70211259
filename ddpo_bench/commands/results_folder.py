"""What names a suite's results on the command line: their folder, the suite's file, or its name."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path

from ddpo_bench.commands.command import add_results


def add_results_folder(parser: ArgumentParser) -> None:
    parser.add_argument(
        "suite", metavar="SUITE|DIR", help="a YAML file, the name of a shipped suite, or a results folder"
    )
    add_results(parser, "the suite's folder is DIR/<suite name> (default: results)")


def results_folder(named: str, results: Path) -> Path:
    """The folder that is named, of a suite `results`/<its name>; whether it holds results is not looked at.

    Raises:
        ConfigError: where there is neither such a folder nor such a suite.
    """
    from ddpo_bench.config import ConfigError
    from ddpo_bench.registry import unknown
    from ddpo_bench.sweep.shipped import shipped_suites
    from ddpo_bench.yaml_file import load_yaml

    place, shipped = Path(named), shipped_suites()
    if place.is_dir():
        return place
    if path := place if place.is_file() else shipped.get(named):
        return results / str(load_yaml(path).get("name", path.stem))
    if os.sep in named and place.suffix not in (".yaml", ".yml"):
        return place  # of which whoever reads it knows the nearest folder that exists
    raise ConfigError([f"{named}: no such folder or file; {unknown('shipped suite', place.stem, shipped)}"])
