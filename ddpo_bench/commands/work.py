"""`ddpo-bench work`: a single worker of a suite, in this process."""

from __future__ import annotations

from argparse import Namespace

from ddpo_bench.commands.command import SOME_FAILED, Command, add_suite

EXAMPLES = """\
examples:
  ddpo-bench work algos                                               work in a second terminal
  srun -n 8 ddpo-bench work suites/algos.yaml                         run eight workers on a cluster
  ddpo-bench work algos --storage postgresql://user@host/studies      use a run queue in a database

Claims one free run after the other, and takes over the runs of workers that died.
"""


def execute(args: Namespace) -> int:
    import torch

    from ddpo_bench.commands.planning import planned_runs, refuse_impossible
    from ddpo_bench.console import display_of_worker
    from ddpo_bench.files import naming_disk_trouble
    from ddpo_bench.sweep.runner import state, work_on_suite
    from ddpo_bench.tuning.runner import work_on_tuning

    suite, runs, root = planned_runs(args)
    refuse_impossible(args, suite, runs, root)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # as in every worker, so that numbers do not depend on the worker
    with naming_disk_trouble(root):
        if suite.tune:
            runs = work_on_tuning(suite, root, display_of_worker, args.storage)
        else:
            work_on_suite(suite, runs, root, display_of_worker, args.storage)
    states = [state(run, root) for run in runs]
    print(f"{states.count('done')} of {len(runs)} runs are done, {states.count('failed')} failed: {root}")
    return SOME_FAILED if "failed" in states else 0


COMMAND = Command("run a single worker of a suite in this terminal", EXAMPLES, add_suite, execute, resumable=True)
