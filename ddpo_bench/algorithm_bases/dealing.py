"""A minibatch, dealt out to the processes that train one run, a micro-batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.measuring import NetworkPasses


def dealt(minibatch: Tensor, at_once: int, passes: NetworkPasses) -> Iterator[tuple[Tensor, int]]:
    """This process's share of a minibatch in chunks, equally many on every process, and how many items of each count.

    A loss is to be weighted by kept / len(minibatch); where a process's share is used up, it repeats an item of which
    none is kept, and the network passes of it are not counted.

    Args:
        minibatch: [M, ...], the same on every process.
        at_once: the most items in one chunk.
        passes: to which whoever learns from a chunk adds its own.
    """
    for part in processes.deal(len(minibatch), at_once):
        before = passes.work
        yield minibatch[part.rows], part.kept
        if not part.kept:
            passes.work = before
