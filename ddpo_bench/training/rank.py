"""One of several processes that train one run, as `launch` starts it: it joins the others, trains, and reports."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from ddpo_bench.child_processes import follow_parent
from ddpo_bench.config import RunConfig
from ddpo_bench.process_errors import packed, unpacked
from ddpo_bench.signals import interrupt

LONGEST_WAIT = timedelta(hours=1)  # for the others, which may be slow; those that die are noticed at once
Row = dict[str, Any]


def be_rank(
    rank: int, environment: Mapping[str, str], train: str, config: RunConfig, folder: Path, parent: Connection
) -> None:
    """Train together with the other processes; what is printed goes where standard error goes.

    Args:
        environment: variables by which the processes find each other.
        train: "module:function" that trains one run.
        parent: is sent every row of rank 0 and what ended this process, and answers each row with None or an exception.
    """
    follow_parent()
    if rank == 0:  # which alone has something to save
        signal.signal(signal.SIGTERM, interrupt)
    os.dup2(2, 1)
    os.environ.update(environment)
    try:
        join_group()
        module, _, function = train.partition(":")
        on_row = reporting_to(parent) if rank == 0 else ignore
        getattr(importlib.import_module(module), function)(config, folder, on_row)
        leave_group()
    except BaseException as error:
        report(error, rank, parent)


def join_group() -> None:
    """Join the processes that the environment names: over NCCL where each has a GPU, over gloo on CPUs."""
    import accelerate
    import torch

    on_cpu = not torch.cuda.is_available()
    if on_cpu:  # else it is "cpu:0", which torch.load does not know
        os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
    accelerate.PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)


def leave_group() -> None:
    import accelerate

    accelerate.PartialState().destroy_process_group()


def reporting_to(parent: Connection) -> Callable[[Row], None]:
    """An `on_row` that has the parent call its own, and raises here what that raises there."""

    def on_row(row: Row) -> None:
        parent.send(row)
        if answer := parent.recv():
            raise unpacked(answer)

    return on_row


def ignore(row: Row) -> None:
    """The rows of rank 0 are those of all."""


def report(error: BaseException, rank: int, parent: Connection) -> NoReturn:
    """End this process at once, without waiting for others, as communication that was broken off may do."""
    error.add_note(f"In process {rank}:\n{''.join(traceback.format_exception(error))}")
    parent.send(packed(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
