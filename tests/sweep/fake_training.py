"""Stands in for the trainer in worker processes: takes milliseconds, resumes, and misbehaves by algorithm."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import yaml

from ddpo_bench.config import Choice
from ddpo_bench.files import InUse, exclusive, write_json
from ddpo_bench.sweep import journal, lease
from ddpo_bench.sweep.runner import run_suite as real_run_suite

NO_POLICY = Choice("policy", "none", {})  # a real one's options would import torch, seconds long, in every worker
vars(NO_POLICY)["inputs"] = {}
EPOCH_SECONDS = float(os.environ.get("FAKE_EPOCH_SECONDS", "0"))
CRASHES = "trpo_penalty"  # raises in its second epoch
DIES_ONCE = "sac"  # is killed in its second epoch the first time
DIES_ALWAYS = "policy_gradient"

journal.LOCK_SECONDS = 5  # after which the lock of a worker that was killed while it wrote is broken

if OTHER_HOST := os.environ.get("FAKE_HOST"):  # whose processes cannot be looked up from here
    lease.platform = SimpleNamespace(node=lambda: OTHER_HOST)
    lease.BEAT_SECONDS, lease.LEASE_SECONDS = 0.2, 3.0


def train(config, folder, on_row):
    """Write what the trainer writes; an epoch that metrics.jsonl holds is not done again."""
    try:
        with exclusive(folder / "busy", "two workers at one run"):
            train_alone(config, folder, on_row)
    except InUse:
        note(folder, "overlaps.txt", str(os.getpid()))
        raise


def train_alone(config, folder, on_row):
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    (folder / "provenance.json").write_text("{}")
    metrics = folder / "metrics.jsonl"
    whole = metrics.read_text().rpartition("\n")[0].splitlines(keepends=True) if metrics.exists() else []
    metrics.write_text("".join(line.rstrip("\n") + "\n" for line in whole))  # without a line that a kill cut short
    done = len(whole)
    note(folder, "sessions.txt", f"{os.getpid()} from {done} with {threads_at_birth()} threads")
    try:
        for epoch in range(done, config.epochs + 1):
            time.sleep(EPOCH_SECONDS)
            if epoch == 2:
                misbehave(config.algorithm.name, folder)
            row = training_row(epoch) if epoch else {"epoch": 0, "eval/jpeg_compressibility": -1.0}
            note(folder, "metrics.jsonl", json.dumps(row))
            write_status(folder, "running", epoch, config.epochs)
            on_row(row)
        note(folder, "metrics.jsonl", json.dumps({"epoch": config.epochs, "eval/jpeg_compressibility": -0.5}))
    except KeyboardInterrupt:
        write_status(folder, "killed", epoch, config.epochs)
        raise
    write_status(folder, "done", config.epochs, config.epochs)


def threads_at_birth():
    """OMP_NUM_THREADS as the process was started: torch, which unpickling a run imports, heeds no later one."""
    born_with = Path("/proc/self/environ")
    lines = born_with.read_text().split("\0") if born_with.exists() else [f"{k}={v}" for k, v in os.environ.items()]
    return next((line.partition("=")[2] for line in lines if line.startswith("OMP_NUM_THREADS=")), None)


def run_suite(suite, runs, root, workers, display, retry_failed=False, storage=None):
    """The real runner, with this trainer in real worker processes."""
    light = [replace(run, config=replace(run.config, policy=NO_POLICY)) for run in runs]
    return real_run_suite(suite, light, root, workers, display, retry_failed, storage, train="fake_training:train")


def misbehave(algorithm, folder):
    if algorithm == CRASHES:
        raise ValueError("the reward returned NaN\nsecond line")
    first = len((folder / "sessions.txt").read_text().splitlines()) == 1
    if algorithm == DIES_ALWAYS or (algorithm == DIES_ONCE and first):
        os.kill(os.getpid(), signal.SIGKILL)


def training_row(epoch):
    return {"epoch": epoch, "queries": 4 * epoch, "reward_mean": -1.0, "images_per_second": 10.0}


def write_status(folder, state, epoch, epochs):
    held = {"state": state, "reason": None, "epoch": epoch, "epochs": epochs, "seconds": 1.0, "pid": os.getpid()}
    write_json(folder / "status.json", held)


def note(folder, name, line):
    with (folder / name).open("a") as file:
        file.write(line + "\n")
