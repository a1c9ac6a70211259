"""ddpo-bench with the known landscape in its worker processes: python tuning_command.py tune SUITE ..."""

import functools
import sys

from ddpo_bench import cli
from ddpo_bench.sweep import journal
from ddpo_bench.tuning import runner

journal.LOCK_SECONDS = 5  # after which the lock of a worker that was killed while it wrote is broken

if __name__ == "__main__":  # worker processes import this file too
    runner.tune_suite = functools.partial(runner.tune_suite, train="landscape:train")
    runner.work_on_tuning = functools.partial(runner.work_on_tuning, train="landscape:train")
    sys.exit(cli.main())
