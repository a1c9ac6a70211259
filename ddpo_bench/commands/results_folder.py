"""The results folder that a command line names: by its path, the suite's file, or the suite's name."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path

from ddpo_bench.commands.command import add_results


def add_results_folder(parser: ArgumentParser) -> None:
    parser.add_argument(
        "suite",
        metavar="SUITE|DIR",
        help="a results folder, a suite's YAML file, or the name of a suite that comes with the package",
    )
    add_results(parser, "look for a suite's results in DIR/<suite name> (default: results)")


def results_folder(named: str, results: Path) -> Path:
    """The results folder that is named; whether it holds results is not checked.

    Args:
        named: a folder, the file of a suite, or the name of a shipped suite.
        results: the folder of a suite's results is <results>/<suite name>.
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
        return place  # the reader's error names the nearest folder that exists
    raise ConfigError([f"{named}: no such folder or file; {unknown('shipped suite', place.stem, shipped)}"])
