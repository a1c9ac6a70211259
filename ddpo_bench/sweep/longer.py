"""More epochs for a run that is done: the longer run begins with all that the shorter one left.

An epoch's randomness follows from (seed, epoch), so the numbers are those of a run that was planned longer from the
start; what is added are the evaluation and the pictures at the shorter run's end.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ddpo_bench.checksummed import Damaged, write_checksummed_json, write_checksummed_yaml
from ddpo_bench.run_folder.metrics import read_rows
from ddpo_bench.run_folder.places import identity_of, run_folders
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.training.checkpoint import CorruptCheckpoint, can_resume, checkpoints


def begin_from_shorter(root: Path, runs: Sequence[PlannedRun]) -> None:
    """Give each run without a folder that of the longest finished run that differs from it in `epochs` alone.

    Args:
        root: results/<suite>.
    """
    new = [run for run in runs if not (root / run.folder).exists()]
    finished = finished_runs(root) if new else {}
    lengths = sorted({epochs for _, epochs in finished.values()}, reverse=True)
    for run in new:
        for epochs in lengths:
            identity = replace(run.config, epochs=epochs).identity() if epochs < run.config.epochs else ""
            shorter, _ = finished.get((identity, run.folder.name), (None, 0))
            if shorter and is_whole(shorter):
                begin(root / run.folder, run, shorter)
                break


def finished_runs(root: Path) -> dict[tuple[str, str], tuple[Path, int]]:
    """Of each run that is done, by its identity and seed-<k>, the folder and the epochs."""
    found = {}
    for folder in run_folders(root):
        with suppress(Damaged):
            status = read_status(folder)
            if status["state"] == "done" and checkpoints(folder):
                found[identity_of(folder), folder.name] = folder, int(status.get("epochs", 0))
    return found


def is_whole(run: Path) -> bool:
    """Whether a finished run can be continued: not if it is damaged, or older versions kept too little of it."""
    try:
        return bool(read_rows(run)) and can_resume(run)
    except (Damaged, CorruptCheckpoint):
        return False


def begin(folder: Path, run: PlannedRun, shorter: Path) -> None:
    """Make the folder of a run from that of a shorter one, all at once; one that has come to be meanwhile stays."""
    copy = folder.with_name(f".{folder.name}.{os.getpid()}")
    copy.mkdir(parents=True)
    try:
        for name in ("samples", "checkpoint"):  # files that nobody changes, only replaces
            if (shorter / name).is_dir():
                shutil.copytree(shorter / name, copy / name, copy_function=link_or_copy)
        for name in ("metrics.jsonl", "provenance.json"):
            shutil.copy2(shorter / name, copy / name)
        write_checksummed_yaml(copy / "config.yaml", run.config.to_dict())
        status = {"state": "killed", "reason": "more epochs", "epochs": run.config.epochs, "metrics_crc32": None}
        write_checksummed_json(copy / "status.json", read_status(shorter) | status)
        try:
            copy.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def link_or_copy(source: str, target: str) -> None:
    """Checkpoints can be large, and most file systems can give a file a second name."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
