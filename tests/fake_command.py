"""ddpo-bench with the fake trainer in its worker processes: python fake_command.py run SUITE ...

With the environment of `full_disk.environment` on such a disk; with a plan.pickle in the current folder by that plan,
since to plan is to import diffusers.
"""

import os
import pickle
import sys
from functools import partial
from pathlib import Path

import fake_trainer
import full_disk

if full_disk.PATTERN in os.environ:  # in worker processes too, which import this file
    full_disk.fill(os.environ[full_disk.PATTERN], int(os.environ[full_disk.ROOM]))

if __name__ == "__main__":
    from ddpo_bench import cli
    from ddpo_bench.commands import planning
    from ddpo_bench.sweep import runner
    from ddpo_bench.tuning import runner as tuning_runner

    runner.run_suite = fake_trainer.run_suite
    runner.work_on_suite = partial(runner.work_on_suite, train=fake_trainer.TRAIN)
    tuning_runner.tune_suite = partial(tuning_runner.tune_suite, train=fake_trainer.TRAIN)
    tuning_runner.work_on_tuning = partial(tuning_runner.work_on_tuning, train=fake_trainer.TRAIN)
    if Path("plan.pickle").exists():
        planning.planned_runs = lambda args: pickle.loads(Path("plan.pickle").read_bytes())
        planning.refuse_impossible = lambda *args: None
    sys.exit(cli.main())
