"""ddpo-bench with the known landscape in its worker processes: python tuning_command.py tune SUITE ..."""

import functools
import sys

from ddpo_bench import cli
from ddpo_bench.tuning import runner

if __name__ == "__main__":  # worker processes import this file too
    runner.tune_suite = functools.partial(runner.tune_suite, train="landscape:train")
    runner.work_on_tuning = functools.partial(runner.work_on_tuning, train="landscape:train")
    sys.exit(cli.main())
