"""Stands in for a trainer on several processes: sums a number over them each epoch, and misbehaves as it is told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ddpo_bench.config import RunConfig
from ddpo_bench.files import DiskTrouble
from ddpo_bench.process_errors import errors_told
from ddpo_bench.training.status import Status, end_after

TRAIN = "fake_ranks:train"
ACTS = {
    "print": lambda: None,
    "error": lambda: (_ for _ in ()).throw(ValueError("the reward returned NaN")),
    "disk": lambda: (_ for _ in ()).throw(DiskTrouble(Path("results"), 28)),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(7),
    "hang": lambda: time.sleep(1000),
    "wait in C": lambda: wait_in_c(),
    "interrupt the parent": lambda: (os.kill(multiprocessing.parent_process().pid, signal.SIGINT), time.sleep(1000)),
}


def train(config: RunConfig, folder: Path, on_row: Callable[[dict[str, Any]], None]) -> None:
    """Three epochs; acts.json says {rank: [epoch, act]}."""
    rank = distributed.get_rank()
    acts = json.loads((folder / "acts.json").read_text())
    status = Status.of(folder, config.epochs)
    write = rank == 0
    if write:
        status.begin()
    try:
        with errors_told():
            sum_ranks(rank, acts, on_row)
    except BaseException as error:
        if write:
            status.end(*end_after(error))
        raise
    if write:
        status.end("done")


def sum_ranks(rank: int, acts: dict[str, Any], on_row: Callable[[dict[str, Any]], None]) -> None:
    for epoch in range(1, 4):
        at, act = acts.get(str(rank), (0, ""))
        if at == epoch:
            print("noise of a library", flush=True)
            ACTS[act]()
        total = torch.tensor(float(rank + 1))
        distributed.all_reduce(total)
        on_row({"epoch": epoch, "reward_mean": total.item()})


def wait_in_c() -> None:
    """Where Python's signal handlers are not called, as in a collective of GPUs."""
    store = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), wait_for_workers=False)
    store.wait(["never"], timedelta(seconds=1000))
