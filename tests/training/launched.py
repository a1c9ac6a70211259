"""Starts `ddpo-bench train` as a launcher does, in processes that each have a terminal of their own: a file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_ranks
from warm_processes import WARM

from ddpo_bench import cli
from ddpo_bench.training import launcher, trainer

MAY_TAKE = 60  # seconds


@contextmanager
def launched(here: Path, *arguments: str, count: int = 2, patience: float = 5.0) -> Iterator[list[Any]]:
    """The processes, which all run the command line `ddpo-bench train ARGUMENTS`."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    arguments = ("train", *arguments)
    processes = [WARM.Process(target=be, args=(r, count, store.port, here, arguments, patience)) for r in range(count)]
    for process in processes:
        process.start()
    try:
        yield processes
        for process in processes:
            process.join(MAY_TAKE)
    finally:
        for process in processes:
            process.kill()
            process.join()


def be(rank: int, count: int, port: int, here: Path, arguments: tuple[str, ...], patience: float) -> None:
    with terminal_of(here, rank).open("a") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever started the server may have ignored
    os.chdir(here)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()} | {"TORCHELASTIC_USE_AGENT_STORE": "True"})
    launcher.PATIENCE = patience
    trainer.train = fake_ranks.train
    sys.exit(cli.main(arguments))


def terminal_of(here: Path, rank: int) -> Path:
    return here / f"terminal-{rank}.txt"
