"""ddpo-bench with the fake trainer in its worker processes: python fake_command.py run SUITE ..."""

import sys

import fake_training

from ddpo_bench import cli
from ddpo_bench.sweep import runner

if __name__ == "__main__":  # worker processes import this file too
    runner.run_suite = fake_training.run_suite
    sys.exit(cli.main())
