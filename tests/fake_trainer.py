"""Stands in for the trainer: takes milliseconds, resumes, misbehaves by algorithm; its reward is a known function."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ddpo_bench.config import Choice, RunConfig
from ddpo_bench.files import InUse, exclusive, write_json, write_yaml
from ddpo_bench.run_folder.metrics import read_rows
from ddpo_bench.sweep import journal, lease
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.runner import run_suite as real_run_suite
from ddpo_bench.sweep.suite import Suite

TRAIN = "fake_trainer:train"
NO_POLICY = Choice("policy", "none", {})  # a real one's options would import torch, seconds long, in every worker
vars(NO_POLICY)["inputs"] = {}
EPOCH_SECONDS = float(os.environ.get("FAKE_EPOCH_SECONDS", "0"))
CRASHES = "trpo_penalty"  # raises in its second epoch
DIES_ONCE = "sac"  # is killed in its second epoch the first time
DIES_ALWAYS = "policy_gradient"
BEST_RATE = 1e-4  # the learning rate with the highest reward
HIGHEST_RATE = 5e-2  # above it the loss is NaN

journal.LOCK_SECONDS = 5  # after which the lock of a worker that was killed while it wrote is broken

if OTHER_HOST := os.environ.get("FAKE_HOST"):  # whose processes cannot be looked up from here
    lease.platform = SimpleNamespace(node=lambda: OTHER_HOST)
    lease.BEAT_SECONDS, lease.LEASE_SECONDS = 0.2, 3.0


def train(config: RunConfig, folder: Path, on_row: Callable[[dict[str, Any]], None]) -> None:
    """Write what the trainer writes; an epoch that metrics.jsonl holds is not done again."""
    try:
        with exclusive(folder / "busy", "two workers at one run"):
            train_alone(config, folder, on_row)
    except InUse:
        note(folder, "overlaps.txt", str(os.getpid()))
        raise


def train_alone(config: RunConfig, folder: Path, on_row: Callable[[dict[str, Any]], None]) -> None:
    write_yaml(folder / "config.yaml", config.to_dict())
    write_json(folder / "provenance.json", {})
    rows = read_rows(folder)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))  # whole lines alone
    note(folder, "sessions.txt", f"{os.getpid()} from {len(rows)} with {threads_at_birth()} threads")
    if config.algorithm.options.get("learning_rate", 0.0) > HIGHEST_RATE:
        raise FloatingPointError("the loss is NaN")
    epoch = len(rows)
    try:
        for epoch in range(len(rows), config.epochs + 1):
            time.sleep(EPOCH_SECONDS)
            if epoch == 2:
                misbehave(config.algorithm.name, folder)
            row = training_row(config, epoch) if epoch else evaluation_row(config, 0)
            note(folder, "metrics.jsonl", json.dumps(row))
            write_status(folder, "running", epoch, config.epochs)
            on_row(row)
        note(folder, "metrics.jsonl", json.dumps(evaluation_row(config, config.epochs)))
    except KeyboardInterrupt:
        write_status(folder, "killed", epoch, config.epochs)
        raise
    write_status(folder, "done", config.epochs, config.epochs)


def reward_of(config: RunConfig) -> float:
    """Falls with the square of the distance to BEST_RATE in decades; seeds differ by a constant."""
    rate = config.algorithm.options.get("learning_rate", 1.0)
    return -(math.log10(rate / BEST_RATE) ** 2) + 0.01 * (config.seed % 7)


def training_row(config: RunConfig, epoch: int) -> dict[str, Any]:
    reward = reward_of(config) * epoch / config.epochs
    return {"epoch": epoch, "queries": 4 * epoch, "reward_mean": reward, "images_per_second": 10.0}


def evaluation_row(config: RunConfig, epoch: int) -> dict[str, Any]:
    kl = 1e6 * float(config.algorithm.options.get("learning_rate", 0.0))
    reward = reward_of(config) if epoch else 0.0
    return {
        "epoch": epoch,
        "eval/jpeg_compressibility": reward,
        "eval/kl_reference_nats": kl if epoch else 0.0,
        "eval/diversity": 0.1,
    }


def misbehave(algorithm: str, folder: Path) -> None:
    if algorithm == CRASHES:
        raise ValueError("the reward returned NaN\nsecond line")
    first = len(sessions(folder)) == 1
    if algorithm == DIES_ALWAYS or (algorithm == DIES_ONCE and first):
        os.kill(os.getpid(), signal.SIGKILL)


def write_status(folder: Path, state: str, epoch: int, epochs: int) -> None:
    held = {"state": state, "reason": None, "epoch": epoch, "epochs": epochs, "seconds": 1.0, "pid": os.getpid()}
    write_json(folder / "status.json", held)


def note(folder: Path, name: str, line: str) -> None:
    with (folder / name).open("a") as file:
        file.write(line + "\n")


def sessions(folder: Path) -> list[str]:
    """A line for each time that the training of a run was begun."""
    return (folder / "sessions.txt").read_text().splitlines()


def threads_at_birth() -> str | None:
    """OMP_NUM_THREADS as the process was started: torch, which unpickling a run imports, heeds no later one."""
    born_with = Path("/proc/self/environ")
    lines = born_with.read_text().split("\0") if born_with.exists() else [f"{k}={v}" for k, v in os.environ.items()]
    return next((line.partition("=")[2] for line in lines if line.startswith("OMP_NUM_THREADS=")), None)


def without_policy(planned: Any) -> Any:
    """A run or a cell that is quick to unpickle."""
    return replace(planned, config=replace(planned.config, policy=NO_POLICY))


def run_suite(suite: Suite, runs: Sequence[PlannedRun], *args: Any, **options: Any) -> list[PlannedRun]:
    """The real runner, with this trainer in real worker processes."""
    return real_run_suite(suite, [without_policy(run) for run in runs], *args, **options, train=TRAIN)
