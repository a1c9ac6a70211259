"""`ddpo-bench work` with the fake trainer, and a plan that the test has made: to plan is to import diffusers."""

import pickle
import sys
from functools import partial
from pathlib import Path

from ddpo_bench import cli
from ddpo_bench.commands import planning
from ddpo_bench.sweep import runner

planning.planned_runs = lambda args: pickle.loads(Path("plan.pickle").read_bytes())
planning.refuse_impossible = lambda *args: None
runner.work_on_suite = partial(runner.work_on_suite, train="fake_training:train")
sys.exit(cli.main())
