"""`ddpo-bench` with the trainer of fake_ranks, as a program."""

import sys

import fake_ranks

from ddpo_bench import cli
from ddpo_bench.training import launch, trainer

if __name__ == "__main__":
    trainer.train = fake_ranks.train
    launch.TRAIN = fake_ranks.TRAIN
    sys.exit(cli.main())
