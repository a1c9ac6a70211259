"""A suite's results folder brought up to its plan: what is done is skipped, what was killed resumes, the rest runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ddpo_bench.config import load_yaml
from ddpo_bench.files import exclusive, write_yaml
from ddpo_bench.sweep.plan import PlannedRun, read_status
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.sweep.workers import Pool, Watcher

TRAIN = "ddpo_bench.training.trainer:train"
Display = Callable[[Sequence[PlannedRun], int], AbstractContextManager[Watcher]]  # of runs to do, and how many are done


def run_suite(
    suite: Suite,
    runs: Sequence[PlannedRun],
    root: Path,
    workers: int,
    display: Display,
    retry_failed: bool = False,
    train: str = TRAIN,
) -> list[PlannedRun]:
    """Train what of `runs` is still to do.

    Args:
        root: results/<suite>.
        workers: processes at a time.
        retry_failed: whether failed runs count as still to do.
        train: "module:function" that trains one run.
    Returns:
        The runs that are failed in the end.
    Raises:
        InUse: where another process is at this folder.
    """
    busy = (
        f"{root}: another ddpo-bench run is at work here (process {{pid}}). Wait for it, or give another --results DIR."
    )
    with exclusive(root / ".lock", busy):
        spent = wall_seconds(root)
        todo = unfinished(runs, root, retry_failed)
        done = sum(state(run, root) == "done" for run in runs)
        write_yaml(root / "suite.yaml", suite.to_dict() | {"wall_seconds": spent})
        if todo:
            clock = time.monotonic()
            try:
                with display(todo, done) as watcher:
                    Pool(todo, root, workers, watcher, train).finish()
            finally:
                spent += time.monotonic() - clock
                write_yaml(root / "suite.yaml", suite.to_dict() | {"wall_seconds": round(spent, 1)})
    return [run for run in runs if state(run, root) == "failed"]


def unfinished(runs: Sequence[PlannedRun], root: Path, retry_failed: bool = False) -> list[PlannedRun]:
    """The runs still to do.  One that says it is running was killed: whoever holds the folder's lock runs no other."""
    settled = {"done"} if retry_failed else {"done", "failed"}
    return [run for run in runs if state(run, root) not in settled]


def state(run: PlannedRun, root: Path) -> str:
    """queued, running, done, failed or killed."""
    return read_status(root / run.folder)["state"]


def wall_seconds(root: Path) -> float:
    """Time that earlier sessions took, as suite.yaml records it."""
    path = root / "suite.yaml"
    return load_yaml(path).get("wall_seconds", 0.0) if path.exists() else 0.0
