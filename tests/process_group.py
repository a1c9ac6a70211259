"""Groups of processes over gloo that stay, so that many tests call functions on all of them and pay one start."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from torch.distributed import TCPStore
from warm_processes import WARM


class Group:
    """Some processes, each of which waits for functions to call."""

    def __init__(self, count: int):
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.pipes, self.processes = [], []
        for rank in range(count):
            ours, theirs = WARM.Pipe()
            process = WARM.Process(target=serve, args=(rank, count, self.store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def call(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What a function of an importable module returns on each process; an exception is returned in its place."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        return [pipe.recv() for pipe in self.pipes]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


@contextmanager
def group_of(count: int) -> Iterator[Group]:
    group = Group(count)
    try:
        yield group
    finally:
        group.end()


def serve(rank: int, count: int, port: int, pipe: Connection) -> None:
    import torch
    from accelerate import PartialState
    from every_plugin import register_made_up_plugins

    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.set_num_threads(1)
    PartialState(cpu=True)
    register_made_up_plugins()
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send(function(*arguments))
        except Exception as error:
            error.add_note(traceback.format_exc())
            pipe.send(error)
