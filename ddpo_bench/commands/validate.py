"""`ddpo-bench validate`: whether a file is a sound suite or run configuration."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ddpo_bench.commands.command import Command
from ddpo_bench.config import load_yaml

EXAMPLES = """\
examples:
  ddpo-bench validate suites/algos.yaml
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a YAML file, or the name of a suite that comes with the package")


def execute(args: Namespace) -> int:
    from ddpo_bench.commands.planning import count_images, load_run
    from ddpo_bench.sweep.plan import plan
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.sweep.suite import is_suite, load_suite

    path = find_suite(args.file)
    if not is_suite(load_yaml(path)):
        config = load_run(path, [])
        images = config.epochs * config.samples_per_epoch
        print(f"{path}: ok, one run of {config.algorithm} on {config.reward}, {images:,} images")
        return 0
    suite = load_suite(path)
    runs = plan(suite)
    cells = f"{len(suite.cells)} cells x {len(suite.seeds)} seeds"
    print(f"{path}: ok, a suite of {len(runs)} runs ({cells}), {count_images(runs)} images")
    return 0


COMMAND = Command("check a suite or a run configuration", EXAMPLES, add_options, execute)
